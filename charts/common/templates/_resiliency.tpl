{{/* Seconds that an app may take for a delivery before its sidecar repeats it. */}}
{{- define "common.deliveryTimeout" -}}12{{- end }}

{{/*
Retries of a chart's sidecars: a delivery is retried indefinitely until the app answers. Publishing is not retried, because the relay
retries itself. Takes: root, topics, apps.
*/}}
{{- define "common.resiliency" -}}
apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata:
  name: {{ include "common.chart" .root }}
  labels: {{ include "common.labels" (dict "root" .root "app" (include "common.chart" .root) "component" "eventing") | nindent 4 }}
scopes: {{ toYaml .apps | nindent 2 }}
spec:
  policies:
    timeouts:
      publish: 5s
      delivery: {{ include "common.deliveryTimeout" . }}s
    retries:
      until-answered:
        # "exponential" stops after 15 minutes, whatever maxRetries is.
        policy: constant
        duration: 1s
        maxRetries: -1
  targets:
    components:
      {{- range .topics }}
      {{ printf "%s-%s" (include "common.chart" $.root) . }}:
        inbound: { timeout: delivery, retry: until-answered }
        outbound: { timeout: publish }
      {{- end }}
{{- end }}
