{{/*
`helm test`: sends a fact about nobody through everything, and names the hop where it stops. Takes: root, app, systems (whose canaries), hops (of all of
them, as lib/eventing/canary.ts has them).
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
  # Longer than the slowest canaries take: one that stops is named then, where a pod that is killed says nothing. Five minutes are for a node
  # that has to be made first, and the image.
  activeDeadlineSeconds: {{ add 300 (mul (add .hops (len .systems) (len .systems)) $canary.timeoutSeconds) }}
  {{- include "common.jobPod" (dict "root" .root "name" "canary" "args" (concat (list "services/canary/main.ts") .systems) "env" (include "common.canaryEnv" .) "resources" $canary.resources) | nindent 2 }}
{{- end }}

{{- define "common.canaryEnv" -}}
{{ include "common.apiEnv" . }}
- { name: TIMEOUT_SECONDS, value: {{ .root.Values.canary.timeoutSeconds | quote }} }
{{- end }}

{{/* What a command that asks an API as an operator is told. Takes: root, app. */}}
{{- define "common.apiEnv" -}}
{{- $secrets := .root.Values.secrets -}}
- { name: API_URL, value: {{ printf "http://%s:%d" .app (int .root.Values.service.port) }} }
{{ include "common.secretEnv" (dict "name" "OPERATOR_TOKEN" "secret" $secrets.existingSecret "key" $secrets.keys.operatorToken) }}
{{- end }}
