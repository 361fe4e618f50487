{{/* The Secret with the broker credentials of an app's sidecar: its own, or the shared one. Takes: root, app. */}}
{{- define "common.brokerSecret" -}}
{{ get .root.Values.broker.appSecrets .app | default .root.Values.broker.existingSecret }}
{{- end }}

{{/* The environment variables of an app's sidecar that its Components refer to, as `NAME=secret:key,...`. Takes: root, app. */}}
{{- define "common.brokerSecrets" -}}
{{- $broker := .root.Values.broker -}}
{{- $secret := include "common.brokerSecret" . -}}
{{- $names := dict "jetstream" (dict "NATS_URL" "url") "rabbitmq" (dict "RABBITMQ_URL" "url") "redis" (dict "REDIS_HOST" "host" "REDIS_PASSWORD" "password") "kafka" (dict "KAFKA_BROKERS" "brokers" "KAFKA_USERNAME" "username" "KAFKA_PASSWORD" "password") -}}
{{- $pairs := list -}}
{{- range $name, $key := get $names $broker.kind -}}
{{- if or (ne $broker.kind "kafka") (eq $name "KAFKA_BROKERS") (ne $broker.kafka.authType "none") -}}
{{- $pairs = append $pairs (printf "%s=%s:%s" $name $secret (get $broker.keys $key)) -}}
{{- end -}}
{{- end -}}
{{- range $name, $key := $broker.extraSecretMetadata -}}
{{- $pairs = append $pairs (printf "%s=%s:%s" (include "common.metadataVariable" $name) $secret $key) -}}
{{- end -}}
{{ join "," $pairs }}
{{- end }}

{{/* The warning in NOTES.txt about apps that share one user of the broker. Takes: root, apps. */}}
{{- define "common.brokerNotes" -}}
{{- $broker := .root.Values.broker -}}
{{- $sharing := list -}}
{{- range .apps }}{{ if not (get $broker.appSecrets .) }}{{ $sharing = append $sharing . }}{{ end }}{{ end -}}
{{- with $sharing }}
WARNING: {{ join ", " . }} connect{{ eq (len .) 1 | ternary "s" "" }} to the broker with the Secret {{ $broker.existingSecret }}, which all apps share: each of them may publish any event of any system, and read all events. Give each app its own user (broker.appSecrets; docs/operate.md, "Users of the broker")
{{- end }}
{{- end }}

{{/* The environment variable for one metadata item from the broker's Secret, such as BROKER_TLS_CLIENT_CERT for tls_client_cert. */}}
{{- define "common.metadataVariable" -}}
BROKER_{{ regexReplaceAll "\\W" . "_" | upper }}
{{- end }}

{{/*
The Component of one topic for the apps of one chart. Its name is `<chart>-<topic>`, so that two releases never define the same one.
Takes: root, topic, publishers (app-ids), subscribers (app-ids). No other app may use the topic through it.
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
  name: {{ printf "%s-%s" (include "common.chart" .root) $topic }}
  labels: {{ include "common.labels" (dict "root" .root "app" (include "common.chart" .root) "component" "eventing") | nindent 4 }}
scopes: {{ concat .publishers .subscribers | uniq | sortAlpha | toYaml | nindent 2 }}
spec:
  type: pubsub.{{ get (dict "jetstream" "jetstream" "redis" "redis" "rabbitmq" "rabbitmq" "kafka" "kafka") $broker.kind }}
  version: v1
  metadata:
    {{- $set := include (printf "common.component.%s" $broker.kind) . }}
    {{- include "common.refuseMetadata" (dict "broker" $broker "set" ($set | fromYamlArray)) }}
    {{- $set | nindent 4 }}
    {{- range $name, $value := $broker.extraMetadata }}
    # toJson writes digits; a template writes a large number as 1e+06.
    - { name: {{ $name }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }} }
    {{- end }}
    {{- range $name, $_ := $broker.extraSecretMetadata }}
    - { name: {{ $name }}, envRef: {{ include "common.metadataVariable" $name }} }
    {{- end }}
    # Protected: only the apps named here may use the topic.
    - { name: protectedTopics, value: {{ $topic }} }
    - { name: allowedTopics, value: {{ $topic }} }
    - { name: publishingScopes, value: {{ join ";" $publishing | quote }} }
    - { name: subscriptionScopes, value: {{ join ";" $subscribing | quote }} }
{{- end }}

{{/*
Refuses extra metadata that would replace the chart's own: daprd uses the last entry of a name and ignores case.
Takes: broker, set (the chart's own metadata).
*/}}
{{- define "common.refuseMetadata" -}}
{{- $taken := dict "protectedtopics" "the chart" "allowedtopics" "the chart" "publishingscopes" "the chart" "subscriptionscopes" "the chart" -}}
{{- range .set }}{{ $_ := set $taken (lower .name) "the chart" }}{{ end -}}
{{- $fixed := "a sidecar receives nothing from an existing consumer that was created without this setting" -}}
{{- $named := "the stream of a topic has the topic's name" -}}
{{- $losing := get (dict
  "jetstream" (dict
    "maxdeliver" "the broker would drop an event after this many failed deliveries"
    "ackpolicy" "events would count as delivered although no app has acknowledged them"
    "memorystorage" "a restart of the broker would lose the position of each app"
    "startsequence" "earlier events would never be delivered"
    "starttime" "earlier events would never be delivered"
    "streamname" $named "heartbeat" $fixed "flowcontrol" $fixed "replicas" $fixed "ratelimit" $fixed)
  "redis" (dict "maxlenapprox" "the stream would drop messages that a slow app has not read")
  "rabbitmq" (dict
    "enabledeadletter" "events that an app cannot handle yet would leave its queue permanently"
    "maxlen" "the queue would drop messages that a slow app has not read"
    "maxlenbytes" "the queue would drop messages that a slow app has not read"
    "ttlinseconds" "the queue would drop messages that a slow app has not read")
  "kafka" (dict "consumeretryenabled" "events that an app cannot handle yet would be skipped")
) .broker.kind -}}
{{- if eq .broker.kind "jetstream" -}}
{{- range $name, $_ := .broker.extraSecretMetadata -}}
{{- if hasPrefix "tls_client_" (lower $name) -}}
{{- fail (printf "broker.extraSecretMetadata sets %s, but a sidecar expects the name of a file there, not its content: mount the Secret (extraVolumes, and dapr.io/volume-mounts in podAnnotations) and set the file name in broker.extraMetadata" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $group := list "extraMetadata" "extraSecretMetadata" -}}
{{- range $name, $_ := get $.broker $group -}}
{{- with get $taken (lower $name) -}}
{{- fail (printf "broker.%s sets %s, which %s sets already: a sidecar uses the last entry of a name and would ignore the other" $group $name .) -}}
{{- end -}}
{{- with get $losing (lower $name) -}}
{{- fail (printf "broker.%s sets %s: %s" $group $name .) -}}
{{- end -}}
{{- $_ := set $taken (lower $name) (print "broker." $group) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Seconds until JetStream redelivers a message that was not acknowledged: the first redelivery, the second, and so on. */}}
{{- define "common.backOffSeconds" -}}
{{ .Values.broker.deliverySeconds }},30,60,120,300
{{- end }}

{{/* One durable per app and topic, shared by replicas: a second topic on the same durable silently receives nothing. */}}
{{- define "common.component.jetstream" -}}
{{- $broker := .root.Values.broker -}}
- { name: natsURL, envRef: NATS_URL }
{{- with $broker.jetstream.apiPrefix }}
- { name: apiPrefix, value: {{ . | quote }} }
{{- end }}
- { name: name, value: "{appID} {{ .topic }}" }
- { name: durableName, value: "{appID}-{{ .topic }}" }
- { name: queueGroupName, value: "{appID}-{{ .topic }}" }
- { name: deliverPolicy, value: all }
# Without ackWait a refused delivery is repeated immediately, thousands of times a second.
- { name: ackWait, value: {{ $broker.deliverySeconds }}s }
# No maxDeliver: redelivery never ends. The intervals grow, because each redelivery waits in the sidecar.
- { name: backOff, value: "{{ include "common.backOffSeconds" .root | replace "," "s," }}s" }
# Small: messages of a killed sidecar are redelivered only after ackWait, and a slow handler has to finish all of them
# within ackWait.
- { name: maxAckPending, value: {{ $broker.jetstream.maxAckPending | quote }} }
# "parallel" acknowledges before the handler has finished.
- { name: concurrencyMode, value: single }
{{- end }}

{{/* Redis Streams acknowledges a message that the handler refused; only the Resiliency's unlimited retry prevents its loss. */}}
{{- define "common.component.redis" -}}
{{- $broker := .root.Values.broker -}}
- { name: redisHost, envRef: REDIS_HOST }
- { name: redisPassword, envRef: REDIS_PASSWORD }
- { name: enableTLS, value: {{ $broker.redis.tls | quote }} }
- { name: consumerID, value: "{appID}" }
# Milliseconds without a unit: redeliverInterval silently ignores a value with a unit.
- { name: processingTimeout, value: {{ mul 1000 $broker.deliverySeconds | quote }} }
- { name: redeliverInterval, value: "5000" }
- { name: concurrency, value: {{ $broker.redis.concurrency | quote }} }
# A limit by age, not by length: a length would trim messages that a slow consumer has not read.
- { name: streamTTL, value: {{ $broker.redis.keepHours }}h }
{{- end }}

{{/*
The defaults lose events: transient messages, queues that are deleted with their last consumer, refused messages dropped, unlimited prefetch.
*/}}
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

{{/* Kafka's default start position is the newest message. The relay sets each message's key, its ordering key. */}}
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
# Without this a message's headers become headers of its delivery: a publisher could fake an invocation or an encoding.
- { name: excludeHeaderMetaRegex, value: ".*" }
- { name: maxMessageBytes, value: "1048576" }
{{- end }}
