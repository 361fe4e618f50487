{{/* Labels of everything that belongs to an app. Takes: root, app (its Dapr app-id, which is its name as well), component (if it is of one). */}}
{{- define "common.labels" -}}
{{- $own := include "common.ownLabels" . -}}
{{ $own }}
{{- include "common.added" (dict "own" $own "more" .root.Values.commonLabels "value" "commonLabels") }}
{{- end }}

{{- define "common.ownLabels" -}}
{{ include "common.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/part-of: member-system
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/*
What somebody adds to labels or annotations, and nothing in the place of what is there: which of two with one name counts is anybody's guess.
Takes: own (YAML), more, value (where the others are from).
*/}}
{{- define "common.added" -}}
{{- $own := .own | fromYaml -}}
{{- range $name, $_ := .more -}}
{{- if hasKey $own $name -}}
{{- fail (printf "%s sets %s, which the chart sets already" $.value $name) -}}
{{- end -}}
{{- end -}}
{{- with .more }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels by which an app's pods are found. They never change. Takes: root, app. */}}
{{- define "common.selector" -}}
app.kubernetes.io/name: {{ .app }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
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
    secretKeyRef: { name: {{ .secret | quote }}, key: {{ .key | quote }} }
{{- end }}

{{/* A role's connection string. Takes: root, role. */}}
{{- define "common.databaseEnv" -}}
{{- $database := .root.Values.database -}}
{{ include "common.secretEnv" (dict "name" "DATABASE_URL" "secret" $database.existingSecret "key" (get $database.keys .role)) }}
{{- end }}
