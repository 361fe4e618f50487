{{/* The topics of each worker. A disabled worker keeps its access to them: its events wait at the broker. */}}
{{- define "workers.topics" -}}
publish-recorder: [member-internal, member-external]
device-login-recorder: [member-internal]
other-device-logout: [member-internal]
other-member-logout: [member-internal]
external-broadcaster: [member-internal]
{{- end }}

{{/* The workers that subscribe to a topic, as a list. */}}
{{- define "workers.subscribers" -}}
{{- $topic := . -}}
{{- range $name, $topics := include "workers.topics" . | fromYaml }}
{{- if has $topic $topics }}
- {{ $name }}
{{- end }}
{{- end }}
{{- end }}
