{{/* The Ingress of an API, with the values that most charts have. Takes: root, app. */}}
{{- define "common.ingress" -}}
{{- $ingress := .root.Values.ingress -}}
{{- if $ingress.enabled }}
{{- if not $ingress.hosts -}}
{{- fail "ingress is enabled, but ingress.hosts is empty, so no request would be routed: add a host, such as [{host: members.example.com}]" -}}
{{- end }}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {{ .app }}
  labels: {{ include "common.labels" . | nindent 4 }}
  {{- with $ingress.annotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with $ingress.className }}
  ingressClassName: {{ . | quote }}
  {{- end }}
  {{- with $ingress.tls }}
  tls: {{ toYaml . | nindent 4 }}
  {{- end }}
  rules:
    {{- range $ingress.hosts }}
    - host: {{ .host | quote }}
      http:
        paths:
          {{- range .paths | default (list dict) }}
          - path: {{ .path | default "/" | quote }}
            pathType: {{ .pathType | default "Prefix" }}
            backend: { service: { name: {{ $.app }}, port: { name: http } } }
          {{- end }}
    {{- end }}
{{- end }}
{{- end }}
