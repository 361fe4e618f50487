{{/*
One app's Subscription to one topic. Its name and label show which app receives which topic in `kubectl get subscriptions`.
Takes: root, app, topic.
*/}}
{{- define "common.subscription" -}}
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata:
  name: {{ .app }}-{{ .topic }}
  labels:
    {{- include "common.labels" (dict "root" .root "app" .app "component" "eventing") | nindent 4 }}
    member-system/topic: {{ .topic }}
scopes: [{{ .app }}]
spec:
  pubsubname: {{ printf "%s-%s" (include "common.chart" .root) .topic }}
  topic: {{ .topic }}
  metadata:
    # The app also receives messages that are not CloudEvents and can record them. Otherwise daprd refuses such a message again
    # and again, and it takes one of the app's places for unacknowledged messages.
    rawPayload: "true"
    {{- if eq .root.Values.broker.kind "rabbitmq" }}
    queueType: quorum
    {{- end }}
  routes:
    default: /events/{{ .topic }}
{{- end }}
