{{/*
A suspended CronJob, only for `kubectl create job --from=cronjob/…` after the database was restored to an earlier time: imports the events
that the database has lost and the topic still has. Takes: root, app, program.
*/}}
{{- define "common.restore" -}}
{{- $name := printf "%s-restore" .app -}}
{{- $labels := include "common.labels" (dict "root" .root "app" $name) -}}
{{- if and (eq .root.Values.broker.kind "jetstream") (not (include "common.jetstreamBeyondUrl" .root)) }}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ $name }}
  labels: {{ $labels | nindent 4 }}
spec:
  # Operators start it.
  suspend: true
  schedule: "0 0 1 1 *"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      # A failed restore fails again until an operator acts.
      backoffLimit: 0
      template:
        metadata:
          labels: {{ $labels | nindent 12 }}
          annotations: {{ include "common.jobAnnotations" .root | nindent 12 }}
        spec: {{ include "common.jobPod" (dict "root" .root "name" "restore" "args" (list .program) "env" (include "common.restoreEnv" .root) "resources" .root.Values.restore.resources) | nindent 10 }}
{{- end }}
{{- end }}

{{- define "common.restoreEnv" -}}
{{- $secrets := .Values.secrets -}}
{{ include "common.databaseEnv" (dict "root" . "role" "app") }}
{{ include "common.secretEnv" (dict "name" "MASTER_KEY" "secret" $secrets.existingSecret "key" $secrets.keys.masterKey) }}
{{ include "common.natsEnv" . }}
{{- end }}
