{{/* What every pod has. It complies with the Pod Security Standard "restricted". */}}
{{- define "common.podSecurity" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraVolumes }}
volumes: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where pods are scheduled. Takes: a group of values. */}}
{{- define "common.scheduling" -}}
{{- range $key := list "priorityClassName" "nodeSelector" "tolerations" "affinity" }}
{{- with get $ $key }}
{{ $key }}: {{ kindIs "string" . | ternary . (toYaml . | nindent 2) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "common.jobAnnotations" -}}
{{- $own := "# With a sidecar the Job would never complete.\ndapr.io/enabled: \"false\"" -}}
{{ $own }}
{{- include "common.added" (dict "own" $own "more" .Values.jobs.podAnnotations "value" "jobs.podAnnotations") }}
{{- end }}

{{/*
The pod of a Job. Takes: root, name, args (the program), env (YAML), resources, serviceAccount (only for Jobs that call the API server).
*/}}
{{- define "common.jobPod" -}}
restartPolicy: Never
{{- with .serviceAccount }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: {{ hasKey . "serviceAccount" }}
{{ include "common.podSecurity" .root }}
{{- include "common.scheduling" .root.Values.jobs }}
containers:
  - name: {{ .name }}
    {{- include "common.container" . | nindent 4 }}
    args: {{ toJson .args }}
    env: {{ include "common.env" (dict "own" .env "more" .root.Values.jobs.extraEnv "value" "jobs.extraEnv") | nindent 6 }}
{{- end }}

{{/*
A container's environment variables. Refuses duplicate names.
Takes: own (YAML), more (the operator's), value (the name of the value that `more` comes from).
*/}}
{{- define "common.env" -}}
{{- $taken := dict -}}
{{- range .own | fromYamlArray }}{{ $_ := set $taken .name "the chart" }}{{ end -}}
{{- range .more -}}
{{- $name := .name -}}
{{- with get $taken $name }}{{ fail (printf "%s sets %s, which %s sets already" $.value $name .) }}{{ end -}}
{{- $_ := set $taken .name "it" -}}
{{- end -}}
{{ .own | trim }}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "common.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* What every container has. Takes: root, resources. */}}
{{- define "common.container" -}}
image: {{ include "common.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{ include "common.containerSecurity" . | nindent 2 }}
resources: {{ toYaml .resources | nindent 2 }}
{{- with .root.Values.extraVolumeMounts }}
volumeMounts: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
The sidecar's annotations. Takes: root, app.
The sidecar checks the app's health every second, so that a draining app soon receives nothing more. It keeps publishing for the relay while
the pod shuts down. The builtin secret store is off: the broker's credentials are environment variables from a Secret.
*/}}
{{- define "common.daprAnnotations" -}}
{{- $dapr := .root.Values.dapr -}}
dapr.io/enabled: "true"
dapr.io/app-id: {{ .app }}
dapr.io/app-port: "8081"
dapr.io/config: {{ include "common.chart" .root }}
dapr.io/api-token-secret: {{ $dapr.apiTokenSecret | quote }}
dapr.io/app-token-secret: {{ $dapr.appTokenSecret | quote }}
dapr.io/env-from-secret: {{ include "common.brokerSecrets" . | quote }}
dapr.io/enable-app-health-check: "true"
dapr.io/app-health-check-path: /healthz
dapr.io/app-health-probe-interval: "1"
dapr.io/app-health-probe-timeout: "500"
dapr.io/app-health-threshold: "2"
dapr.io/block-shutdown-duration: {{ printf "%ds" (int $dapr.blockShutdownSeconds) }}
dapr.io/graceful-shutdown-seconds: {{ $dapr.gracefulShutdownSeconds | quote }}
dapr.io/disable-init-endpoints: config,subscribe
dapr.io/disable-builtin-k8s-secret-store: "true"
dapr.io/sidecar-seccomp-profile-type: RuntimeDefault
dapr.io/placement-host-address: " "
dapr.io/scheduler-host-address: " "
dapr.io/log-as-json: "true"
dapr.io/log-level: {{ $dapr.logLevel }}
dapr.io/enable-native-sidecar: {{ $dapr.nativeSidecar | quote }}
{{- with $dapr.image }}
dapr.io/sidecar-image: {{ . | quote }}
{{- end }}
{{- with $dapr.resources }}
{{- range $bound, $key := dict "request" "requests" "limit" "limits" }}
{{- $amounts := get $dapr.resources $key | default dict }}
{{- range $what := list "cpu" "memory" }}
{{- with get $amounts $what }}
dapr.io/sidecar-{{ $what }}-{{ $bound }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Environment of every process beside a sidecar. */}}
{{- define "common.daprEnv" -}}
{{ include "common.secretEnv" (dict "name" "DAPR_API_TOKEN" "secret" .Values.dapr.apiTokenSecret "key" "token") }}
- { name: BROKER_ADDRESS, value: {{ .Values.broker.address | quote }} }
- { name: SUBSCRIPTION_STALL_SECONDS, value: {{ .Values.broker.subscriptionStallSeconds | quote }} }
{{- with .Values.broker.reconcileAfterSeconds }}
- { name: RECONCILE_AFTER_SECONDS, value: {{ . | quote }} }
{{- end }}
{{- with .Values.consumers }}
- { name: CONSUMER_ATTEMPTS, value: {{ .attempts | quote }} }
- { name: CONSUMER_BACKOFF_MS, value: {{ .backoffMs | int | quote }} }
{{- end }}
- { name: LOG_LEVEL, value: {{ .Values.logLevel }} }
{{- end }}

{{/* Probes. Takes: port, probes. */}}
{{- define "common.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: {{ .port }} }
  {{- toYaml .probes.startup | nindent 2 }}
livenessProbe:
  httpGet: { path: /healthz, port: {{ .port }} }
  {{- toYaml .probes.liveness | nindent 2 }}
readinessProbe:
  httpGet: { path: /readyz, port: {{ .port }} }
  {{- toYaml .probes.readiness | nindent 2 }}
{{- end }}
