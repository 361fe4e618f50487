{{/*
The Service of the public API, and a second one for operators and the chart's own Jobs, which is never behind the Ingress.
Takes: root, app.
*/}}
{{- define "common.services" -}}
{{- $service := .root.Values.service -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ .app }}
  labels: {{ include "common.labels" . | nindent 4 }}
  {{- with $service.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  type: {{ $service.type }}
  selector: {{ include "common.selector" . | nindent 4 }}
  ports:
    - { name: http, port: {{ $service.port }}, targetPort: http }
---
apiVersion: v1
kind: Service
metadata:
  name: {{ .app }}-operations
  labels: {{ include "common.labels" . | nindent 4 }}
spec:
  type: ClusterIP
  selector: {{ include "common.selector" . | nindent 4 }}
  ports:
    - { name: operations, port: 8083, targetPort: operations }
{{- end }}
