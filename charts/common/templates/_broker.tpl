{{/* The environment of the sidecars that components refer to, as `NAME=secret:key,...`. */}}
{{- define "common.brokerSecrets" -}}
{{- $broker := .Values.broker -}}
{{- $names := dict "jetstream" (dict "NATS_URL" "url") "rabbitmq" (dict "RABBITMQ_URL" "url") "redis" (dict "REDIS_HOST" "host" "REDIS_PASSWORD" "password") "kafka" (dict "KAFKA_BROKERS" "brokers" "KAFKA_USERNAME" "username" "KAFKA_PASSWORD" "password") -}}
{{- $pairs := list -}}
{{- range $name, $key := get $names $broker.kind -}}
{{- if or (ne $broker.kind "kafka") (eq $name "KAFKA_BROKERS") (ne $broker.kafka.authType "none") -}}
{{- $pairs = append $pairs (printf "%s=%s:%s" $name $broker.existingSecret (get $broker.keys $key)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $key := $broker.extraSecretMetadata -}}
{{- $pairs = append $pairs (printf "%s=%s:%s" (include "common.metadataVariable" $name) $broker.existingSecret $key) -}}
{{- end -}}
{{ join "," $pairs }}
{{- end }}

{{/* The environment variable with a piece of metadata from the broker's Secret, such as BROKER_TLS_CLIENT_CERT for tls_client_cert. */}}
{{- define "common.metadataVariable" -}}
BROKER_{{ regexReplaceAll "\\W" . "_" | upper }}
{{- end }}

{{/*
One topic, as the apps of one chart see it: its Component, named `<chart>-<topic>`, so that releases never meet.
Takes: root, topic, publishers (app-ids), subscribers (app-ids). Each app gets what is named here and nothing more.
*/}}
{{- define "common.component" -}}
{{- $broker := .root.Values.broker -}}
{{- $topic := .topic -}}
{{- $publishing := list -}}
{{- range .publishers }}{{ $publishing = append $publishing (printf "%s=%s" . $topic) }}{{ end -}}
{{- $subscribing := list -}}
{{- range .subscribers }}{{ $subscribing = append $subscribing (printf "%s=%s" . $topic) }}{{ end -}}
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: {{ printf "%s-%s" .root.Chart.Name $topic }}
  labels: {{ include "common.labels" (dict "root" .root "app" .root.Chart.Name "component" "eventing") | nindent 4 }}
scopes: {{ concat .publishers .subscribers | uniq | sortAlpha | toYaml | nindent 2 }}
spec:
  type: pubsub.{{ get (dict "jetstream" "jetstream" "redis" "redis" "rabbitmq" "rabbitmq" "kafka" "kafka") $broker.kind }}
  version: v1
  metadata:
    {{- $set := include (printf "common.component.%s" $broker.kind) . }}
    {{- include "common.refuseMetadata" (dict "broker" $broker "set" ($set | fromYamlArray)) }}
    {{- $set | nindent 4 }}
    {{- range $name, $value := $broker.extraMetadata }}
    # As digits: a template writes large numbers otherwise.
    - { name: {{ $name }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }} }
    {{- end }}
    {{- range $name, $_ := $broker.extraSecretMetadata }}
    - { name: {{ $name }}, envRef: {{ include "common.metadataVariable" $name }} }
    {{- end }}
    # A protected topic is closed to every app that is not named here.
    - { name: protectedTopics, value: {{ $topic }} }
    - { name: allowedTopics, value: {{ $topic }} }
    - { name: publishingScopes, value: {{ join ";" $publishing | quote }} }
    - { name: subscriptionScopes, value: {{ join ";" $subscribing | quote }} }
{{- end }}

{{/*
More metadata may add to what the chart sets, and not undo it: daprd takes the last one of a name, in whatever letters it is written.
Takes: broker, set (what the chart sets).
*/}}
{{- define "common.refuseMetadata" -}}
{{- $taken := dict "protectedtopics" "the chart" "allowedtopics" "the chart" "publishingscopes" "the chart" "subscriptionscopes" "the chart" -}}
{{- range .set }}{{ $_ := set $taken (lower .name) "the chart" }}{{ end -}}
{{- $fixed := "a sidecar hears nothing from a consumer that is there and was made without it" -}}
{{- $named := "the stream of a topic has the topic's name" -}}
{{- $losing := get (dict
  "jetstream" (dict
    "maxdeliver" "an event that could not be handled so many times would be given up"
    "ackpolicy" "events would count as heard that no app has answered for"
    "memorystorage" "what each app has heard would be forgotten with a restart of the broker"
    "startsequence" "what is before it would never be heard"
    "starttime" "what is before it would never be heard"
    "streamname" $named "heartbeat" $fixed "flowcontrol" $fixed "replicas" $fixed "ratelimit" $fixed)
  "redis" (dict "maxlenapprox" "a stream would drop what a slow app has not read")
  "rabbitmq" (dict
    "enabledeadletter" "what an app cannot handle yet would leave its queue for good"
    "maxlen" "a queue would drop what a slow app has not read"
    "maxlenbytes" "a queue would drop what a slow app has not read"
    "ttlinseconds" "a queue would drop what a slow app has not read")
  "kafka" (dict "consumeretryenabled" "what an app cannot handle yet would be passed over")
) .broker.kind -}}
{{- if eq .broker.kind "jetstream" -}}
{{- range $name, $_ := .broker.extraSecretMetadata -}}
{{- if hasPrefix "tls_client_" (lower $name) -}}
{{- fail (printf "broker.extraSecretMetadata sets %s: a sidecar takes the name of a file there, not what is in it; mount the Secret (extraVolumes, and dapr.io/volume-mounts among podAnnotations) and name the file in broker.extraMetadata" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $group := list "extraMetadata" "extraSecretMetadata" -}}
{{- range $name, $_ := get $.broker $group -}}
{{- with get $taken (lower $name) -}}
{{- fail (printf "broker.%s sets %s, which %s sets already: a sidecar takes the last one of a name, and would lose what the other is for" $group $name .) -}}
{{- end -}}
{{- with get $losing (lower $name) -}}
{{- fail (printf "broker.%s sets %s: %s" $group $name .) -}}
{{- end -}}
{{- $_ := set $taken (lower $name) (print "broker." $group) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* After how long JetStream brings a message again that was not acknowledged, the first time and each time after that. */}}
{{- define "common.backOffSeconds" -}}
{{ .Values.broker.deliverySeconds }},30,60,120,300
{{- end }}

{{/* One durable per app and topic, shared by replicas: a second topic on a durable gets nothing, without an error. */}}
{{- define "common.component.jetstream" -}}
{{- $broker := .root.Values.broker -}}
- { name: natsURL, envRef: NATS_URL }
- { name: name, value: "{appID} {{ .topic }}" }
- { name: durableName, value: "{appID}-{{ .topic }}" }
- { name: queueGroupName, value: "{appID}-{{ .topic }}" }
- { name: deliverPolicy, value: all }
# Without ackWait a refused delivery comes again at once, thousands of times a second.
- { name: ackWait, value: {{ $broker.deliverySeconds }}s }
# Never given up (no maxDeliver); seldomer while the app cannot answer, since each repeat waits in the sidecar.
- { name: backOff, value: "{{ include "common.backOffSeconds" .root | replace "," "s," }}s" }
# What a killed sidecar had in its hands comes again after ackWait only, and a slow handler must get through all of it within ackWait.
- { name: maxAckPending, value: {{ $broker.jetstream.maxAckPending | quote }} }
# "parallel" acknowledges before the handler has finished.
- { name: concurrencyMode, value: single }
{{- end }}

{{/* Redis Streams acknowledge what a handler refused: the Resiliency, which tries for ever, is what keeps it. */}}
{{- define "common.component.redis" -}}
{{- $broker := .root.Values.broker -}}
- { name: redisHost, envRef: REDIS_HOST }
- { name: redisPassword, envRef: REDIS_PASSWORD }
- { name: enableTLS, value: {{ $broker.redis.tls | quote }} }
- { name: consumerID, value: "{appID}" }
# Whole numbers are milliseconds; a duration with a unit is silently ignored in redeliverInterval.
- { name: processingTimeout, value: {{ mul 1000 $broker.deliverySeconds | quote }} }
- { name: redeliverInterval, value: "5000" }
- { name: concurrency, value: {{ $broker.redis.concurrency | quote }} }
# By age, never by length: a length trims what a slow consumer has not read.
- { name: streamTTL, value: {{ $broker.redis.keepHours }}h }
{{- end }}

{{/* The defaults are transient messages, queues that vanish with their last consumer, refused messages thrown away, and no limit on deliveries. */}}
{{- define "common.component.rabbitmq" -}}
{{- $broker := .root.Values.broker -}}
- { name: connectionString, envRef: RABBITMQ_URL }
- { name: consumerID, value: "{appID}" }
- { name: publisherConfirm, value: "true" }
- { name: deliveryMode, value: "2" }
- { name: durable, value: "true" }
- { name: deletedWhenUnused, value: "false" }
- { name: autoAck, value: "false" }
- { name: requeueInFailure, value: "true" }
- { name: prefetchCount, value: {{ $broker.rabbitmq.prefetchCount | quote }} }
- { name: concurrencyMode, value: parallel }
{{- end }}

{{/* Kafka starts at the newest message unless told; the relay gives each message its member as the key. */}}
{{- define "common.component.kafka" -}}
{{- $broker := .root.Values.broker -}}
- { name: brokers, envRef: KAFKA_BROKERS }
- { name: authType, value: {{ $broker.kafka.authType }} }
{{- if ne $broker.kafka.authType "none" }}
- { name: saslUsername, envRef: KAFKA_USERNAME }
- { name: saslPassword, envRef: KAFKA_PASSWORD }
- { name: saslMechanism, value: {{ $broker.kafka.saslMechanism }} }
{{- end }}
- { name: disableTls, value: {{ not $broker.kafka.tls | quote }} }
- { name: consumerGroup, value: "{appID}" }
- { name: clientID, value: "{appID}" }
- { name: initialOffset, value: oldest }
- { name: maxMessageBytes, value: "1048576" }
{{- end }}

{{/* How long an app may take for a delivery before its sidecar gives it the same one again; seconds. */}}
{{- define "common.deliveryTimeout" -}}12{{- end }}

{{/*
What a chart's sidecars do when the app or the broker does not answer: deliver until it does, for ever; publish once, since the relay
tries again itself. Takes: root, topics, apps.
*/}}
{{- define "common.resiliency" -}}
apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata:
  name: {{ .root.Chart.Name }}
  labels: {{ include "common.labels" (dict "root" .root "app" .root.Chart.Name "component" "eventing") | nindent 4 }}
scopes: {{ toYaml .apps | nindent 2 }}
spec:
  policies:
    timeouts:
      publish: 5s
      delivery: {{ include "common.deliveryTimeout" . }}s
    retries:
      until-answered:
        # "exponential" gives up after a quarter of an hour, whatever maxRetries says.
        policy: constant
        duration: 1s
        maxRetries: -1
  targets:
    components:
      {{- range .topics }}
      {{ printf "%s-%s" $.root.Chart.Name . }}:
        inbound: { timeout: delivery, retry: until-answered }
        outbound: { timeout: publish }
      {{- end }}
{{- end }}

{{/* Who hears what, for `kubectl get subscriptions`. Takes: root, app, topic. */}}
{{- define "common.subscription" -}}
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata:
  name: {{ .app }}-{{ .topic }}
  labels:
    {{- include "common.labels" (dict "root" .root "app" .app "component" "eventing") | nindent 4 }}
    member-system/topic: {{ .topic }}
scopes: [{{ .app }}]
spec:
  pubsubname: {{ printf "%s-%s" .root.Chart.Name .topic }}
  topic: {{ .topic }}
  metadata:
    # So that what is no event comes as well: daprd would refuse it itself, for ever, and the broker gives each app only so many at once.
    rawPayload: "true"
    {{- if eq .root.Values.broker.kind "rabbitmq" }}
    queueType: quorum
    {{- end }}
  routes:
    default: /events/{{ .topic }}
{{- end }}

{{/* What sidecars serve and whom they let call their app. Takes: root, apis (names), callers (list of {app, operations (list of {path, verbs})}). */}}
{{- define "common.configuration" -}}
apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: {{ .root.Chart.Name }}
  labels: {{ include "common.labels" (dict "root" .root "app" .root.Chart.Name "component" "eventing") | nindent 4 }}
spec:
  features:
    # Else each sidecar of the namespace restarts, all at the same moment, whenever somebody touches a Configuration. A change comes with
    # new pods instead, one after the other.
    - { name: HotReload, enabled: false }
  api:
    # Nothing but what the apps use.
    allowed:
      {{- range .apis }}
      - { name: {{ . }}, version: v1.0, protocol: http }
      {{- end }}
      # Nobody speaks gRPC to a sidecar, and without a rule for it all of it is open. This one opens what is open over HTTP as well.
      - { name: metadata, version: v1, protocol: grpc }
  metrics:
    enabled: true
    http: { increasedCardinality: false }
  {{- with .root.Values.dapr.tracing }}
  tracing: {{ toYaml . | nindent 4 }}
  {{- end }}
  accessControl:
    defaultAction: deny
    trustDomain: public
    {{- with .callers }}
    policies:
      {{- range . }}
      - appId: {{ .app | quote }}
        defaultAction: deny
        trustDomain: public
        namespace: {{ .namespace | default $.root.Release.Namespace | quote }}
        operations:
          {{- range .operations }}
          - { name: {{ .path }}, httpVerb: [{{ join ", " .verbs }}], action: allow }
          {{- end }}
      {{- end }}
    {{- end }}
{{- end }}
