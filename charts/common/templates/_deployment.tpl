{{/*
One app with its sidecar and, if it has an outbox of its own to empty, its relay.
Takes: root, app, args (the program), env (YAML), workload (replicas, resources and so on), relay (whether it has one), topics (whose
Subscriptions are not in dapr.yaml).
*/}}
{{- define "common.deployment" -}}
{{- include "common.refuse" . -}}
{{- $root := .root -}}
{{- $workload := .workload -}}
{{- $shutdown := $root.Values.shutdown -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .app }}
  labels: {{ include "common.labels" . | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .app }}
  labels: {{ include "common.labels" . | nindent 4 }}
spec:
  {{- if not (or $workload.autoscaling.enabled $workload.keda.enabled) }}
  replicas: {{ $workload.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  selector:
    matchLabels: {{ include "common.selector" . | nindent 6 }}
  strategy:
    rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
  template:
    metadata:
      labels:
        {{- $labels := include "common.labels" . }}
        {{- $labels | nindent 8 }}
        {{- include "common.added" (dict "own" $labels "more" $workload.podLabels "value" (printf "podLabels of %s" .app)) | nindent 8 }}
      annotations:
        {{- $annotations := include "common.appAnnotations" . }}
        {{- $annotations | nindent 8 }}
        {{- include "common.added" (dict "own" $annotations "more" $workload.podAnnotations "value" (printf "podAnnotations of %s" .app)) | nindent 8 }}
    spec:
      serviceAccountName: {{ .app }}
      automountServiceAccountToken: false
      {{- include "common.podSecurity" $root | nindent 6 }}
      terminationGracePeriodSeconds: {{ $shutdown.gracePeriodSeconds }}
      {{- include "common.scheduling" $workload | nindent 6 }}
      topologySpreadConstraints:
        {{- $nodes := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" }}
        {{- $own := dict "labelSelector" (dict "matchLabels" (include "common.selector" . | fromYaml)) "matchLabelKeys" (list "pod-template-hash") }}
        {{- range $workload.topologySpreadConstraints | default (list $nodes) }}
        - {{ merge (deepCopy .) (hasKey . "labelSelector" | ternary dict $own) | toYaml | nindent 10 }}
        {{- end }}
      containers:
        - name: app
          {{- include "common.container" (dict "root" $root "resources" $workload.resources) | nindent 10 }}
          args: {{ toJson .args }}
          env: {{ include "common.env" (dict "own" (include "common.appEnv" .) "more" $workload.extraEnv "value" (printf "extraEnv of %s" .app)) | nindent 12 }}
          {{- with $workload.extraEnvFrom }}
          envFrom: {{ toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - { name: http, containerPort: 8080 }
          {{- include "common.probes" (dict "port" "http" "probes" $workload.probes) | nindent 10 }}
        {{- if .relay }}
        - name: relay
          {{- include "common.container" (dict "root" $root "resources" $root.Values.relay.resources) | nindent 10 }}
          args: [services/relay/main.ts]
          env: {{ include "common.env" (dict "own" (include "common.relayEnv" .) "more" $root.Values.relay.extraEnv "value" "relay.extraEnv") | nindent 12 }}
          ports:
            - { name: relay, containerPort: 8082 }
          {{- include "common.probes" (dict "port" "relay" "probes" $root.Values.relay.probes) | nindent 10 }}
        {{- end }}
{{- end }}

{{/* Takes: root, app, topics. */}}
{{- define "common.appAnnotations" -}}
{{- $read := include (print .root.Template.BasePath "/dapr.yaml") .root -}}
{{- range .topics -}}
{{- $read = print $read (include "common.subscription" (dict "root" $.root "app" $.app "topic" .)) -}}
{{- end -}}
{{ include "common.daprAnnotations" . }}
# Sidecars read these at their start only.
checksum/dapr: {{ $read | sha256sum }}
{{- end }}

{{/* Takes: root, env (the app's own, YAML). */}}
{{- define "common.appEnv" -}}
{{- $shutdown := .root.Values.shutdown -}}
- { name: PORT, value: "8080" }
- { name: PART_SECONDS, value: {{ $shutdown.endpointsSeconds | quote }} }
- { name: LINGER_SECONDS, value: {{ $shutdown.lingerSeconds | quote }} }
- { name: DRAIN_SECONDS, value: {{ $shutdown.drainSeconds | quote }} }
{{- if .root.Values.dapr.nativeSidecar }}
# Kubernetes tells such a sidecar to end when the pod's other containers have, and callers would be led to it until then.
- { name: END_SIDECAR, value: "true" }
{{- end }}
{{ include "common.databaseEnv" (dict "root" .root "role" "app") }}
{{ include "common.secretEnv" (dict "name" "APP_API_TOKEN" "secret" .root.Values.dapr.appTokenSecret "key" "token") }}
{{ include "common.daprEnv" .root }}
{{ .env }}
{{- end }}

{{/* Takes: root, app. */}}
{{- define "common.relayEnv" -}}
- { name: PORT, value: "8082" }
- { name: APP_ID, value: {{ .app }} }
- { name: DRAIN_SECONDS, value: {{ .root.Values.shutdown.drainSeconds | quote }} }
- { name: RESEND_AFTER_SECONDS, value: {{ .root.Values.relay.resendAfterSeconds | quote }} }
{{ include "common.databaseEnv" (dict "root" .root "role" "relay") }}
{{ include "common.daprEnv" .root }}
{{- end }}

{{/* Combinations that would cost events, or never work, are refused with a sentence. Takes: root, app, workload, relay. */}}
{{- define "common.refuse" -}}
{{- $values := .root.Values -}}
{{- $shutdown := $values.shutdown -}}
{{- $needed := add $shutdown.endpointsSeconds $shutdown.lingerSeconds $shutdown.drainSeconds $values.dapr.gracefulShutdownSeconds -}}
{{- if lt (int $shutdown.gracePeriodSeconds) (int $needed) -}}
{{- fail (printf "shutdown.gracePeriodSeconds is %d, and shutting down in order takes up to %d s (endpointsSeconds + lingerSeconds + drainSeconds + dapr.gracefulShutdownSeconds): pods would be killed in the middle of their work" (int $shutdown.gracePeriodSeconds) $needed) -}}
{{- end -}}
{{- $sidecar := add $values.dapr.blockShutdownSeconds $values.dapr.gracefulShutdownSeconds -}}
{{- if lt (int $shutdown.gracePeriodSeconds) (int $sidecar) -}}
{{- fail (printf "shutdown.gracePeriodSeconds is %d, and the sidecar takes up to %d s to end (dapr.blockShutdownSeconds + gracefulShutdownSeconds): it would be killed while it publishes" (int $shutdown.gracePeriodSeconds) $sidecar) -}}
{{- end -}}
{{- if lt (int $values.dapr.blockShutdownSeconds) (int (add $shutdown.endpointsSeconds $shutdown.lingerSeconds)) -}}
{{- fail (printf "dapr.blockShutdownSeconds is %d: the sidecar would be gone while its app still needs it (shutdown.endpointsSeconds + lingerSeconds = %d)" (int $values.dapr.blockShutdownSeconds) (add $shutdown.endpointsSeconds $shutdown.lingerSeconds)) -}}
{{- end -}}
{{- range splitList "," $values.broker.address -}}
{{- $port := regexFind "[1-9][0-9]*$" . | int -}}
{{- if or (not (regexMatch "^(\\[[0-9A-Fa-f:.]+\\]|[\\w.-]+):[1-9][0-9]{0,4}$" .)) (gt $port 65535) -}}
{{- fail (printf "broker.address is %q: it has to be host:port, several separated by commas, with ports from 1 to 65535" $values.broker.address) -}}
{{- end -}}
{{- end -}}
{{- $delivery := include "common.deliveryTimeout" . | int -}}
{{- if le (int $values.broker.deliverySeconds) $delivery -}}
{{- fail (printf "broker.deliverySeconds is %d, and an app may take %d s for a delivery: the broker would bring events again that are being worked on; use at least %d" (int $values.broker.deliverySeconds) $delivery (add1 $delivery)) -}}
{{- end -}}
{{- with $values.broker.repairSeconds -}}
{{- if lt (int .) (int (mul 2 $values.broker.deliverySeconds)) -}}
{{- fail (printf "broker.repairSeconds is %d, and the broker brings an event again only after broker.deliverySeconds (%d s): what is on its way would be asked for again; use at least %d" (int .) (int $values.broker.deliverySeconds) (mul 2 $values.broker.deliverySeconds)) -}}
{{- end -}}
{{- end -}}
{{- if .relay -}}
{{- $window := mul 2 $values.broker.deliverySeconds -}}
{{- if lt (int $values.relay.resendAfterSeconds) (int $window) -}}
{{- fail (printf "relay.resendAfterSeconds is %d, and the recorder is given a message again only after broker.deliverySeconds (%d s): what is on its way would be sent again and again; use at least %d" (int $values.relay.resendAfterSeconds) (int $values.broker.deliverySeconds) $window) -}}
{{- end -}}
{{- $most := .workload.replicas -}}
{{- if .workload.autoscaling.enabled }}{{ $most = .workload.autoscaling.maxReplicas }}{{ end -}}
{{- if .workload.keda.enabled }}{{ $most = .workload.keda.maxReplicas }}{{ end -}}
{{- if gt (int $most) 32 -}}
{{- fail (printf "%d replicas of %s have a relay each, and an outbox has 32 partitions: those beyond would relay nothing" (int $most) .app) -}}
{{- end -}}
{{- end -}}
{{- range $scaler := list "autoscaling" "keda" -}}
{{- with get $.workload $scaler -}}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) -}}
{{- fail (printf "%s of %s goes up to maxReplicas %d, and minReplicas is %d" $scaler $.app (int .maxReplicas) (int .minReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .workload.autoscaling.enabled -}}
{{- $asking := list (list "it" .workload.resources) (list "its sidecar (dapr.resources)" $values.dapr.resources) -}}
{{- if .relay }}{{ $asking = append $asking (list "its relay (relay.resources)" $values.relay.resources) }}{{ end -}}
{{- range $asking -}}
{{- $resources := last . | default dict -}}
{{- if not (or (get ($resources.requests | default dict) "cpu") (get ($resources.limits | default dict) "cpu")) -}}
{{- fail (printf "autoscaling of %s is enabled, by its use of the CPU that is asked for, and %s asks for none: set requests.cpu (a limit alone is asked for as well)" $.app (first .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .workload.autoscaling.enabled .workload.keda.enabled -}}
{{- fail (printf "autoscaling and keda of %s are both enabled: they would scale against each other" .app) -}}
{{- end -}}
{{- end }}
