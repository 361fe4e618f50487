{{/*
One app with its sidecar and, if it is an API, its relay.
Takes: root, app, args (the program), env (YAML), workload (replicas, resources and so on), relay (whether it has one), api (whether it has a
public API), topics (whose Subscriptions are not in dapr.yaml).
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
          # 8081 is for the sidecar and listens on the loopback address only.
          ports:
            {{- if .api }}
            - { name: http, containerPort: 8080 }
            {{- end }}
            - { name: operations, containerPort: 8083 }
          {{- include "common.probes" (dict "port" "operations" "probes" $workload.probes) | nindent 10 }}
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
# Sidecars read these resources only at their start.
checksum/dapr: {{ $read | sha256sum }}
{{- end }}

{{/* Takes: root, api (whether it has a public API), env (the app's own, YAML). */}}
{{- define "common.appEnv" -}}
{{- $shutdown := .root.Values.shutdown -}}
{{- if .api }}
- { name: PORT, value: "8080" }
- { name: KEEP_ALIVE_SECONDS, value: {{ .root.Values.service.keepAliveSeconds | quote }} }
{{- end }}
- { name: SIDECAR_PORT, value: "8081" }
- { name: OPERATIONS_PORT, value: "8083" }
- { name: SHUTDOWN_DELAY_SECONDS, value: {{ $shutdown.delaySeconds | quote }} }
- { name: SIDECAR_DRAIN_SECONDS, value: {{ $shutdown.sidecarDrainSeconds | quote }} }
- { name: SHUTDOWN_TIMEOUT_SECONDS, value: {{ $shutdown.timeoutSeconds | quote }} }
{{- if .root.Values.dapr.nativeSidecar }}
# Kubernetes stops a native sidecar only after the pod's other containers, and callers would be routed to it until then.
- { name: STOP_SIDECAR, value: "true" }
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
- { name: SHUTDOWN_TIMEOUT_SECONDS, value: {{ .root.Values.shutdown.timeoutSeconds | quote }} }
- { name: RESEND_AFTER_SECONDS, value: {{ .root.Values.relay.resendAfterSeconds | quote }} }
{{ include "common.databaseEnv" (dict "root" .root "role" "relay") }}
{{ include "common.daprEnv" .root }}
{{- end }}

{{/* Refuses combinations of values that would lose events or never work. Takes: root, app, workload, relay. */}}
{{- define "common.refuse" -}}
{{- $values := .root.Values -}}
{{- $shutdown := $values.shutdown -}}
{{- $needed := add $shutdown.delaySeconds $shutdown.sidecarDrainSeconds $shutdown.timeoutSeconds $values.dapr.gracefulShutdownSeconds -}}
{{- if lt (int $shutdown.gracePeriodSeconds) (int $needed) -}}
{{- fail (printf "shutdown.gracePeriodSeconds is %d, but a graceful shutdown takes up to %d s (delaySeconds + sidecarDrainSeconds + timeoutSeconds + dapr.gracefulShutdownSeconds): pods would be killed in the middle of their work" (int $shutdown.gracePeriodSeconds) $needed) -}}
{{- end -}}
{{- $sidecar := add $values.dapr.blockShutdownSeconds $values.dapr.gracefulShutdownSeconds -}}
{{- if lt (int $shutdown.gracePeriodSeconds) (int $sidecar) -}}
{{- fail (printf "shutdown.gracePeriodSeconds is %d, but the sidecar takes up to %d s to stop (dapr.blockShutdownSeconds + gracefulShutdownSeconds): it would be killed while it publishes" (int $shutdown.gracePeriodSeconds) $sidecar) -}}
{{- end -}}
{{- if lt (int $values.dapr.blockShutdownSeconds) (int (add $shutdown.delaySeconds $shutdown.sidecarDrainSeconds)) -}}
{{- fail (printf "dapr.blockShutdownSeconds is %d, but the app needs its sidecar for up to %d s (shutdown.delaySeconds + sidecarDrainSeconds): set at least that many" (int $values.dapr.blockShutdownSeconds) (add $shutdown.delaySeconds $shutdown.sidecarDrainSeconds)) -}}
{{- end -}}
{{- range splitList "," $values.broker.address -}}
{{- $port := regexFind "[1-9][0-9]*$" . | int -}}
{{- if or (not (regexMatch "^(\\[[0-9A-Fa-f:.]+\\]|[\\w.-]+):[1-9][0-9]{0,4}$" .)) (gt $port 65535) -}}
{{- fail (printf "broker.address is %q: use host:port, several separated by commas, with ports from 1 to 65535" $values.broker.address) -}}
{{- end -}}
{{- end -}}
{{- $delivery := include "common.deliveryTimeout" . | int -}}
{{- if le (int $values.broker.deliverySeconds) $delivery -}}
{{- fail (printf "broker.deliverySeconds is %d, but an app may take %d s for a delivery: the broker would redeliver events that are being handled; use at least %d" (int $values.broker.deliverySeconds) $delivery (add1 $delivery)) -}}
{{- end -}}
{{- with $values.broker.reconcileAfterSeconds -}}
{{- if lt (int .) (int (mul 2 $values.broker.deliverySeconds)) -}}
{{- fail (printf "broker.reconcileAfterSeconds is %d, but the broker redelivers an event only after broker.deliverySeconds (%d s): events that are on their way would be requested again; use at least %d" (int .) (int $values.broker.deliverySeconds) (mul 2 $values.broker.deliverySeconds)) -}}
{{- end -}}
{{- end -}}
{{- if .relay -}}
{{- $window := mul 2 $values.broker.deliverySeconds -}}
{{- if lt (int $values.relay.resendAfterSeconds) (int $window) -}}
{{- fail (printf "relay.resendAfterSeconds is %d, but the broker redelivers a message to the recorder only after broker.deliverySeconds (%d s): messages that are on their way would be sent again; use at least %d" (int $values.relay.resendAfterSeconds) (int $values.broker.deliverySeconds) $window) -}}
{{- end -}}
{{- $most := .workload.replicas -}}
{{- if .workload.autoscaling.enabled }}{{ $most = .workload.autoscaling.maxReplicas }}{{ end -}}
{{- if .workload.keda.enabled }}{{ $most = .workload.keda.maxReplicas }}{{ end -}}
{{- if gt (int $most) 32 -}}
{{- fail (printf "%d replicas of %s have a relay each, but an outbox has 32 partitions: the other relays would have nothing to publish; use at most 32" (int $most) .app) -}}
{{- end -}}
{{- end -}}
{{- range $scaler := list "autoscaling" "keda" -}}
{{- with get $.workload $scaler -}}
{{- if and .enabled (lt (int .maxReplicas) (int .minReplicas)) -}}
{{- fail (printf "%s of %s: maxReplicas is %d, less than minReplicas, which is %d" $scaler $.app (int .maxReplicas) (int .minReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if .workload.autoscaling.enabled -}}
{{- $asking := list (list "it" .workload.resources) (list "its sidecar (dapr.resources)" $values.dapr.resources) -}}
{{- if .relay }}{{ $asking = append $asking (list "its relay (relay.resources)" $values.relay.resources) }}{{ end -}}
{{- range $asking -}}
{{- $resources := last . | default dict -}}
{{- if not (or (get ($resources.requests | default dict) "cpu") (get ($resources.limits | default dict) "cpu")) -}}
{{- fail (printf "autoscaling of %s is enabled and measures CPU use in percent of the request, but %s requests no CPU: set requests.cpu (a CPU limit alone also counts as the request)" $.app (first .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .workload.autoscaling.enabled .workload.keda.enabled -}}
{{- fail (printf "autoscaling and keda of %s are both enabled: they would scale against each other" .app) -}}
{{- end -}}
{{- end }}
