{{/* Which worker hears which topics. Whether a worker runs or not, its topics stay open to it: its events wait for it at the broker. */}}
{{- define "workers.topics" -}}
publish-recorder: [member-internal, member-external]
device-login-recorder: [member-internal]
other-device-logout: [member-internal]
other-member-logout: [member-internal]
external-broadcaster: [member-internal]
{{- end }}

{{/* The workers that hear a topic, as a list. */}}
{{- define "workers.subscribers" -}}
{{- $topic := . -}}
{{- range $name, $topics := include "workers.topics" . | fromYaml }}
{{- if has $topic $topics }}
- {{ $name }}
{{- end }}
{{- end }}
{{- end }}
