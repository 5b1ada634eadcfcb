{{- /* The services by the name of their section: their component name is the image's and the deployment's. */}}
{{- define "leadsman.services" -}}
ingestAws: ingest-aws
ingestAzure: ingest-azure
ingestGcp: ingest-gcp
ingestK8s: ingest-k8s
ingestKafka: ingest-kafka
normalizer: normalizer
detector: detector
notifier: notifier
{{- end }}

{{- /* Those that can take requests over HTTP (section listen). */}}
{{- define "leadsman.listeners" -}}
["ingest-aws", "ingest-gcp", "ingest-k8s"]
{{- end }}

{{- define "leadsman.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 46 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 46 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* root, component: what selects a service's pods. It never changes, since a Deployment's selector cannot. */}}
{{- define "leadsman.selector" -}}
app.kubernetes.io/name: leadsman
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* root, component: the labels of an object. */}}
{{- define "leadsman.labels" -}}
{{ include "leadsman.selector" . }}
app.kubernetes.io/part-of: leadsman
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* root, component, image: REPOSITORY/COMPONENT:TAG, or the reference given. */}}
{{- define "leadsman.image" -}}
{{ .image | default (printf "%s/%s:%s" .root.Values.image.repository .component (.root.Values.image.tag | default .root.Chart.AppVersion)) }}
{{- end }}

{{- /* A value as text. Numbers come as floats, which would print as 1e+06. */}}
{{- define "leadsman.text" -}}
{{- if kindIs "string" . }}{{ . }}{{ else }}{{ toJson . }}{{ end }}
{{- end }}

{{- /* (list base over): maps merged, lists and values replaced, null removes. As JSON. */}}
{{- define "leadsman.merge" -}}
{{- $out := deepCopy (index . 0) }}
{{- range $key, $value := index . 1 }}
{{- if kindIs "invalid" $value }}{{ $_ := unset $out $key }}
{{- else if and (kindIs "map" $value) (kindIs "map" (get $out $key)) }}{{ $_ := set $out $key (include "leadsman.merge" (list (get $out $key) $value) | fromJson) }}
{{- else }}{{ $_ := set $out $key $value }}{{ end }}
{{- end }}
{{- toJson $out }}
{{- end }}

{{- /* root, key: a service's section over the defaults, as JSON. */}}
{{- define "leadsman.section" -}}
{{- include "leadsman.merge" (list .root.Values.defaults (index .root.Values .key)) }}
{{- end }}

{{- define "leadsman.serviceAccount" -}}
{{ .section.serviceAccount.name | default (ternary .name "default" .section.serviceAccount.create) }}
{{- end }}

{{- define "leadsman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* What every pod has: no token of the API, no rights. */}}
{{- define "leadsman.podBase" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{ toJson .Values.podSecurityContext }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end }}

{{- /* (the options that the client is given, as JSON) */}}
{{- define "leadsman.kafkaOptions" -}}
{{- $options := deepCopy .Values.kafka.options }}
{{- if or .Values.kafka.ca.configMap .Values.kafka.ca.secret }}{{ $_ := set $options "ssl.ca.location" (printf "/etc/leadsman/kafka-ca/%s" .Values.kafka.ca.key) }}{{ end }}
{{- if .Values.kafka.clientCertSecret }}
{{- $_ := set $options "ssl.certificate.location" "/etc/leadsman/kafka-cert/tls.crt" }}
{{- $_ := set $options "ssl.key.location" "/etc/leadsman/kafka-cert/tls.key" }}
{{- end }}
{{- toJson $options }}
{{- end }}

{{- define "leadsman.kafkaEnv" -}}
- name: LEADSMAN_KAFKA_BOOTSTRAP
  value: {{ .Values.kafka.bootstrap | quote }}
{{- $pairs := list }}
{{- range $name, $value := include "leadsman.kafkaOptions" . | fromJson }}{{ $pairs = append $pairs (printf "%s=%s" $name (include "leadsman.text" $value)) }}{{ end }}
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
{{- if .Values.schemaRegistry.url }}
- name: LEADSMAN_SCHEMA_REGISTRY_URL
  value: {{ .Values.schemaRegistry.url | quote }}
{{- end }}
{{- if .Values.schemaRegistry.existingSecret }}
- name: LEADSMAN_SCHEMA_REGISTRY_OPTIONS_FILE
  value: /etc/leadsman/schema-registry/options
{{- end }}
{{- end }}

{{- define "leadsman.kafkaMounts" -}}
{{- if .Values.kafka.existingSecret }}
- {name: kafka, mountPath: /etc/leadsman/kafka, readOnly: true}
{{- end }}
{{- if or .Values.kafka.ca.configMap .Values.kafka.ca.secret }}
- {name: kafka-ca, mountPath: /etc/leadsman/kafka-ca, readOnly: true}
{{- end }}
{{- if .Values.kafka.clientCertSecret }}
- {name: kafka-cert, mountPath: /etc/leadsman/kafka-cert, readOnly: true}
{{- end }}
{{- if .Values.schemaRegistry.existingSecret }}
- {name: schema-registry, mountPath: /etc/leadsman/schema-registry, readOnly: true}
{{- end }}
{{- end }}

{{- define "leadsman.kafkaVolumes" -}}
{{- with .Values.kafka.existingSecret }}
{{ include "leadsman.secretVolume" (list "kafka" .) }}
{{- end }}
{{- include "leadsman.caVolume" (list "kafka-ca" .Values.kafka.ca) }}
{{- with .Values.kafka.clientCertSecret }}
{{ include "leadsman.secretVolume" (list "kafka-cert" .) }}
{{- end }}
{{- with .Values.schemaRegistry.existingSecret }}
{{ include "leadsman.secretVolume" (list "schema-registry" .) }}
{{- end }}
{{- end }}

{{- /* (list volume secret): readable by the group that the pod runs as, by nobody else. */}}
{{- define "leadsman.secretVolume" -}}
- name: {{ index . 0 }}
  secret: {secretName: {{ index . 1 | quote }}, defaultMode: 0440}
{{- end }}

{{- /* (list volume ca): of a ConfigMap or a Secret, or nothing. */}}
{{- define "leadsman.caVolume" -}}
{{- $ca := index . 1 }}
{{- if $ca.configMap }}
- name: {{ index . 0 }}
  configMap: {name: {{ $ca.configMap | quote }}}
{{- else if $ca.secret }}
{{ include "leadsman.secretVolume" (list (index . 0) $ca.secret) }}
{{- end }}
{{- end }}

{{- /* A section that takes requests: its settings, mounts and volumes; nothing for the others. */}}
{{- define "leadsman.listenEnv" -}}
{{- with .listen }}{{ if .enabled }}
- {name: LEADSMAN_LISTEN_HOST, value: "0.0.0.0"}
- {name: LEADSMAN_LISTEN_PORT, value: {{ include "leadsman.text" .port | quote }}}
{{- if .tlsSecret }}
- {name: LEADSMAN_LISTEN_TLS_CERT, value: /etc/leadsman/listen-tls/tls.crt}
- {name: LEADSMAN_LISTEN_TLS_KEY, value: /etc/leadsman/listen-tls/tls.key}
{{- end }}
{{- if .clientCASecret }}
- {name: LEADSMAN_LISTEN_TLS_CLIENT_CA, value: /etc/leadsman/listen-ca/ca.crt}
{{- end }}
{{- end }}{{ end }}
{{- end }}

{{- define "leadsman.listenMounts" -}}
{{- with .listen }}{{ if .enabled }}
{{- if .tlsSecret }}
- {name: listen-tls, mountPath: /etc/leadsman/listen-tls, readOnly: true}
{{- end }}
{{- if .clientCASecret }}
- {name: listen-ca, mountPath: /etc/leadsman/listen-ca, readOnly: true}
{{- end }}
{{- end }}{{ end }}
{{- end }}

{{- define "leadsman.listenVolumes" -}}
{{- with .listen }}{{ if .enabled }}
{{- if .tlsSecret }}
{{ include "leadsman.secretVolume" (list "listen-tls" .tlsSecret) }}
{{- end }}
{{- if .clientCASecret }}
{{ include "leadsman.secretVolume" (list "listen-ca" .clientCASecret) }}
{{- end }}
{{- end }}{{ end }}
{{- end }}

{{- /* The mechanism that Kafka's options ask for, in upper case. */}}
{{- define "leadsman.mechanism" -}}
{{- $options := .Values.kafka.options }}
{{- get $options "sasl.mechanism" | default (get $options "sasl.mechanisms") | default "PLAIN" | upper }}
{{- end }}

{{- /* Where tokens for Kafka come from: aws-msk-iam, google, oidc, file:PATH; empty where there are none. */}}
{{- define "leadsman.token" -}}
{{- $options := .Values.kafka.options }}
{{- if hasPrefix "sasl" (get $options "security.protocol" | default "" | lower) }}
{{- if eq (include "leadsman.mechanism" .) "AWS_MSK_IAM" }}aws-msk-iam
{{- else if eq (include "leadsman.mechanism" .) "OAUTHBEARER" }}
{{- get $options "leadsman.token" | default (ternary "oidc" "" (eq (get $options "sasl.oauthbearer.method" | default "") "oidc")) }}
{{- end }}
{{- end }}
{{- end }}
