{{/*
`helm test`: sends a fact about nobody through everything, and names the hop where it stops. Takes: root, app, systems (whose canaries), hops (of all of
them, as lib/eventing/canary.ts has them).
*/}}
{{- define "common.canary" -}}
{{- $name := printf "%s-canary" .app -}}
{{- $canary := .root.Values.canary -}}
{{- $secrets := .root.Values.secrets -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $name }}
  labels: {{ include "common.labels" (dict "root" .root "app" $name) | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
    dapr.io/enabled: "false"
spec:
  restartPolicy: Never
  # Longer than the slowest canaries take: one that stops is named then, where a pod that is killed says nothing. A minute is for the image.
  activeDeadlineSeconds: {{ add 60 (mul (add .hops (len .systems) (len .systems)) $canary.timeoutSeconds) }}
  {{- include "common.podSecurity" .root | nindent 2 }}
  containers:
    - name: canary
      {{- include "common.container" (dict "root" .root "resources" $canary.resources) | nindent 6 }}
      args: {{ concat (list "services/canary/main.ts") .systems | toJson }}
      env:
        - { name: API_URL, value: {{ printf "http://%s:%d" .app (int .root.Values.service.port) }} }
        - { name: TIMEOUT_SECONDS, value: {{ $canary.timeoutSeconds | quote }} }
        {{- include "common.secretEnv" (dict "name" "OPERATOR_TOKEN" "secret" $secrets.existingSecret "key" $secrets.keys.operatorToken) | nindent 8 }}
{{- end }}
