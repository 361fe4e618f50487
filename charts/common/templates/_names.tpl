{{/*
The chart's name. Not .Chart.Name: that is the alias when a parent chart sets one, and programs expect Components under the chart's name.
Takes: the root.
*/}}
{{- define "common.chart" -}}
{{ index .Chart.Annotations "member-system/chart" }}
{{- end }}

{{/* Labels of every object of an app. Takes: root, app (its Dapr app-id, which is also its name), component (optional). */}}
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
helm.sh/chart: {{ printf "%s-%s" (include "common.chart" .root) .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/*
The operator's own labels or annotations. Refuses names that the chart sets: which of two entries counts differs between Helm versions.
Takes: own (YAML), more (the operator's), value (the name of the value that `more` comes from).
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

{{/* Labels that select an app's pods. They must never change. Takes: root, app. */}}
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

{{/* DATABASE_URL, the connection string of a database role. Takes: root, role. */}}
{{- define "common.databaseEnv" -}}
{{- $database := .root.Values.database -}}
{{ include "common.secretEnv" (dict "name" "DATABASE_URL" "secret" $database.existingSecret "key" (get $database.keys .role)) }}
{{- end }}
