{{/* Labels of everything that belongs to an app. Takes: root, app (its Dapr app-id, which is its name as well). */}}
{{- define "common.labels" -}}
{{ include "common.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: member-system
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels by which an app's pods are found. They never change. Takes: root, app. */}}
{{- define "common.selector" -}}
app.kubernetes.io/name: {{ .app }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "common.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* One environment variable from an existing Secret. Takes: name, secret, key. */}}
{{- define "common.secretEnv" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: { name: {{ .secret }}, key: {{ .key | quote }} }
{{- end }}

{{/* A role's connection string. Takes: root, role. */}}
{{- define "common.databaseEnv" -}}
{{- $database := .root.Values.database -}}
{{ include "common.secretEnv" (dict "name" "DATABASE_URL" "secret" $database.existingSecret "key" (get $database.keys .role)) }}
{{- end }}
