{{/*
The Pod of `helm test`: sends a canary (a synthetic event) through every hop and reports the hop where it stops.
Takes: root, app, systems (that send canaries), hops (their total number, see lib/eventing/diagnostics/canary.ts).
*/}}
{{- define "common.canary" -}}
{{- $name := printf "%s-canary" .app -}}
{{- $canary := .root.Values.canary -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $name }}
  labels: {{ include "common.labels" (dict "root" .root "app" $name) | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
    {{- include "common.jobAnnotations" .root | nindent 4 }}
spec:
  # Longer than the slowest canaries take: a pod killed by this deadline does not report where a canary stopped. Five minutes of it
  # are for a new node and for pulling the image.
  activeDeadlineSeconds: {{ add 300 (mul (add .hops (len .systems) (len .systems)) $canary.timeoutSeconds) }}
  {{- include "common.jobPod" (dict "root" .root "name" "canary" "args" (concat (list "ops/canary/main.ts") .systems) "env" (include "common.canaryEnv" .) "resources" $canary.resources) | nindent 2 }}
{{- end }}

{{- define "common.canaryEnv" -}}
{{ include "common.apiEnv" . }}
- { name: TIMEOUT_SECONDS, value: {{ .root.Values.canary.timeoutSeconds | quote }} }
{{- end }}

{{/* Environment of a command that calls an API as an operator. Takes: root, app. */}}
{{- define "common.apiEnv" -}}
{{- $secrets := .root.Values.secrets -}}
- { name: API_URL, value: {{ printf "http://%s-operations:8083" .app }} }
{{ include "common.secretEnv" (dict "name" "OPERATOR_TOKEN" "secret" $secrets.existingSecret "key" $secrets.keys.operatorToken) }}
{{- end }}
