{{/*
Scales an app by its backlog: an API by the messages in its outbox, the recorder by the unconfirmed messages, any other worker by its messages
at the broker. Takes: root, app, workload, system (that owns the database), waits (outbox, relayed or broker), topics.
*/}}
{{- define "common.keda" -}}
{{- $keda := .workload.keda -}}
{{- $labels := include "common.labels" . -}}
{{- $monitoring := .root.Values.broker.jetstream.monitoring -}}
{{- if eq .waits "broker" -}}
{{- if ne .root.Values.broker.kind "jetstream" -}}
{{- fail (printf "keda of %s is enabled, but its backlog is at the broker, and %s cannot be queried for it: use autoscaling instead" .app .root.Values.broker.kind) -}}
{{- end -}}
{{- if not $monitoring.endpoint -}}
{{- fail (printf "keda of %s is enabled, but its backlog is at the broker: set broker.jetstream.monitoring.endpoint" .app) -}}
{{- end -}}
{{- else -}}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  name: {{ .app }}
  labels: {{ $labels | nindent 4 }}
spec:
  secretTargetRef:
    - parameter: connection
      name: {{ .root.Values.database.existingSecret | quote }}
      key: {{ .root.Values.database.keys.readonly | quote }}
{{ end -}}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: {{ .app }}
  labels: {{ $labels | nindent 4 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ .app }} }
  minReplicaCount: {{ $keda.minReplicas }}
  maxReplicaCount: {{ $keda.maxReplicas }}
  triggers:
    {{- if eq .waits "broker" }}
    {{- range .topics }}
    - type: nats-jetstream
      metadata:
        natsServerMonitoringEndpoint: {{ $monitoring.endpoint | quote }}
        useHttps: {{ $monitoring.tls | quote }}
        account: {{ $monitoring.account | quote }}
        stream: {{ . }}
        consumer: {{ printf "%s-%s" $.app . }}
        lagThreshold: {{ $keda.waitingMessages | quote }}
    {{- end }}
    {{- else }}
    - type: postgresql
      metadata:
        # Counts at most maxReplicas × waitingMessages: more would add no pods.
        query: {{ include (printf "common.keda.%s" .waits) (dict "system" .system "limit" (mul $keda.maxReplicas $keda.waitingMessages)) | trim | replace "\n" " " | quote }}
        targetQueryValue: {{ $keda.waitingMessages | quote }}
      authenticationRef: { name: {{ .app }} }
    {{- end }}
{{- end }}

{{/*
The number of the newest messages in the outbox that more relays could publish. Zero while nothing is confirmed, because more relays do not
help against a broker outage; excludes parked and failing messages and later messages of their keys. The limit bounds the cost, whatever
the backlog.
*/}}
{{- define "common.keda.outbox" -}}
select count(*) from (select * from eventing.outbox order by position desc limit {{ .limit }}) o
where o.parked_at is null and o.next_attempt_at is null
and not exists (select from eventing.outbox held where held.topic = o.topic and held.ordering_key = o.ordering_key
and held.position < o.position and (held.parked_at is not null or held.next_attempt_at is not null))
and exists (select from eventing.published where topic in ('{{ .system }}-internal', '{{ .system }}-external') and published_at > now() - interval '1 minute')
{{- end }}

{{/*
The number of the newest sent messages that are unconfirmed. Zero while nothing is confirmed, and without messages older than five minutes,
which the relay sends again. Ids grow with time.
*/}}
{{- define "common.keda.relayed" -}}
select count(*) from (select relayed_at from eventing.relayed order by id desc limit {{ .limit }}) r
where r.relayed_at > now() - interval '5 minutes'
and exists (select from eventing.published where topic in ('{{ .system }}-internal', '{{ .system }}-external') and published_at > now() - interval '1 minute')
{{- end }}
