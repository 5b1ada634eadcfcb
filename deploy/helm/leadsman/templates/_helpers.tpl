{{- /* The services by the name of their section: their component name is the image's and the deployment's. */}}
{{- define "leadsman.services" -}}
ingestAws: ingest-aws
ingestGcp: ingest-gcp
normalizer: normalizer
detector: detector
notifier: notifier
{{- end }}

{{- define "leadsman.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "leadsman.labels" -}}
app.kubernetes.io/name: leadsman
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "leadsman.selector" -}}
app.kubernetes.io/name: leadsman
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "leadsman.image" -}}
{{ printf "%s/%s:%s" .root.Values.image.repository .component (.root.Values.image.tag | default .root.Chart.AppVersion) }}
{{- end }}

{{- /* A service's section over the defaults, as YAML. Lists of the section replace those of the defaults. */}}
{{- define "leadsman.section" -}}
{{- $section := index .root.Values .key -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.defaults) (deepCopy $section)) }}
{{- end }}

{{- define "leadsman.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "leadsman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What every container is told of Kafka. */}}
{{- define "leadsman.kafkaEnv" -}}
- name: LEADSMAN_KAFKA_BOOTSTRAP
  value: {{ required "kafka.bootstrap is not set: brokers, host:port, comma-separated" .Values.kafka.bootstrap | quote }}
{{- $options := deepCopy .Values.kafka.options }}
{{- if .Values.kafka.caConfigMap }}{{ $_ := set $options "ssl.ca.location" (printf "/etc/leadsman/kafka-ca/%s" .Values.kafka.caKey) }}{{ end }}
{{- $pairs := list }}{{ range $name, $value := $options }}{{ $pairs = append $pairs (printf "%s=%v" $name $value) }}{{ end }}
{{- if $pairs }}
- name: LEADSMAN_KAFKA_OPTIONS
  value: {{ join "," $pairs | quote }}
{{- end }}
{{- if .Values.kafka.existingSecret }}
- name: LEADSMAN_KAFKA_OPTIONS_FILE
  value: /etc/leadsman/kafka/options
{{- end }}
{{- if .Values.topicPrefix }}
- name: LEADSMAN_TOPIC_PREFIX
  value: {{ .Values.topicPrefix | quote }}
{{- end }}
{{- end }}

{{- define "leadsman.kafkaMounts" -}}
{{- if .Values.kafka.existingSecret }}
- {name: kafka, mountPath: /etc/leadsman/kafka, readOnly: true}
{{- end }}
{{- if .Values.kafka.caConfigMap }}
- {name: kafka-ca, mountPath: /etc/leadsman/kafka-ca, readOnly: true}
{{- end }}
{{- end }}

{{- define "leadsman.kafkaVolumes" -}}
{{- with .Values.kafka.existingSecret }}
- name: kafka
  secret: {secretName: {{ . | quote }}}
{{- end }}
{{- with .Values.kafka.caConfigMap }}
- name: kafka-ca
  configMap: {name: {{ . | quote }}}
{{- end }}
{{- end }}
