{{/*
For `kubectl create job --from=cronjob/…` alone, once the database was restored to an earlier time: puts back what the topic still has of what it
has lost. Takes: root, app, program.
*/}}
{{- define "common.restore" -}}
{{- $broker := .root.Values.broker -}}
{{- $secrets := .root.Values.secrets -}}
{{- $name := printf "%s-restore" .app -}}
{{- $labels := include "common.labels" (dict "root" .root "app" $name) -}}
{{- if eq $broker.kind "jetstream" }}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ $name }}
  labels: {{ $labels | nindent 4 }}
spec:
  # Never by itself.
  suspend: true
  schedule: "0 0 1 1 *"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      # What it refuses it would refuse again.
      backoffLimit: 0
      template:
        metadata:
          labels: {{ $labels | nindent 12 }}
          annotations: { dapr.io/enabled: "false" }
        spec:
          restartPolicy: Never
          {{- include "common.podSecurity" .root | nindent 10 }}
          containers:
            - name: restore
              {{- include "common.container" (dict "root" .root "resources" .root.Values.restore.resources) | nindent 14 }}
              args: [{{ .program }}]
              env:
                {{- include "common.databaseEnv" (dict "root" .root "role" "app") | nindent 16 }}
                {{- include "common.secretEnv" (dict "name" "MASTER_KEY" "secret" $secrets.existingSecret "key" $secrets.keys.masterKey) | nindent 16 }}
                {{- include "common.secretEnv" (dict "name" "NATS_URL" "secret" ($broker.jetstream.streams.existingSecret | default $broker.existingSecret) "key" $broker.keys.url) | nindent 16 }}
{{- end }}
{{- end }}
