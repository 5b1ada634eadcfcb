{{- /* What no schema can say, each with a message that tells what to do. */}}
{{- define "leadsman.checks" -}}
{{- $values := .Values }}
{{- $needed := or $values.kafka.createTopics (not $values.canary.enabled) }}
{{- range $key, $_ := include "leadsman.services" . | fromYaml }}{{ $needed = or $needed (index $values $key).enabled }}{{ end }}
{{- if and $needed (not $values.kafka.bootstrap) }}{{ fail "kafka.bootstrap is not set: brokers, host:port, comma-separated" }}{{ end }}
{{- $options := $values.kafka.options }}
{{- range $name, $value := $options }}
{{- if or (hasSuffix "password" $name) (eq $name "sasl.username") (hasSuffix ".pem" $name) (hasPrefix "sasl.oauthbearer.client" $name) (contains "sasl.jaas" $name) }}
{{- fail (printf "kafka.options: %s stands in the Secret that kafka.existingSecret names, under its key options" $name) }}
{{- end }}
{{- if contains "," (include "leadsman.text" $value) }}{{ fail (printf "kafka.options: the value of %s holds a comma, which parts one option from the next" $name) }}{{ end }}
{{- end }}
{{- $protocol := get $options "security.protocol" | default "plaintext" | lower }}
{{- $mechanism := include "leadsman.mechanism" . }}
{{- if not (has $protocol (list "plaintext" "ssl" "sasl_plaintext" "sasl_ssl")) }}{{ fail (printf "kafka.options: security.protocol %s is none of plaintext, ssl, sasl_plaintext, sasl_ssl" $protocol) }}{{ end }}
{{- $token := include "leadsman.token" . }}
{{- if hasPrefix "sasl" $protocol }}
{{- if not (has $mechanism (list "PLAIN" "SCRAM-SHA-256" "SCRAM-SHA-512" "OAUTHBEARER" "AWS_MSK_IAM")) }}{{ fail (printf "kafka.options: sasl.mechanism %s is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM" $mechanism) }}{{ end }}
{{- if has $mechanism (list "OAUTHBEARER" "AWS_MSK_IAM") }}
{{- if not (or (has $token (list "aws-msk-iam" "google" "oidc")) (hasPrefix "file:" $token)) }}{{ fail "kafka.options: with OAUTHBEARER, leadsman.token says where tokens come from: aws-msk-iam, google, oidc or file:PATH" }}{{ end }}
{{- if and (eq $token "oidc") (not $values.kafka.existingSecret) }}{{ fail "kafka.existingSecret is not set: with oidc, its key options holds sasl.oauthbearer.client.id=...,sasl.oauthbearer.client.secret=..." }}{{ end }}
{{- if and (has $token (list "aws-msk-iam" "google")) (ne $protocol "sasl_ssl") }}{{ fail (printf "kafka.options: %s goes over TLS only: security.protocol sasl_ssl" $token) }}{{ end }}
{{- else if not $values.kafka.existingSecret }}{{ fail "kafka.existingSecret is not set: with SASL, its key options holds sasl.username=...,sasl.password=..." }}{{ end }}
{{- end }}
{{- if and $values.kafka.ca.configMap $values.kafka.ca.secret }}{{ fail "kafka.ca: configMap and secret are both set" }}{{ end }}
{{- if and $values.redis.ca.configMap $values.redis.ca.secret }}{{ fail "redis.ca: configMap and secret are both set" }}{{ end }}
{{- if $values.detector.enabled }}
{{- if and $values.redis.existingSecret $values.redis.url }}{{ fail "redis: existingSecret and url are both set" }}{{ end }}
{{- if not (or $values.redis.existingSecret $values.redis.url) }}{{ fail "redis.existingSecret is not set: a Secret whose key url holds the URL of Redis (or redis.url, where nothing in it is secret)" }}{{ end }}
{{- if regexMatch "^rediss?://[^/?]*@" $values.redis.url }}{{ fail "redis.url holds a user or password: put it into a Secret, under the key url, and name that in redis.existingSecret" }}{{ end }}
{{- end }}
{{- range $key, $component := include "leadsman.services" . | fromYaml }}
{{- $section := include "leadsman.section" (dict "root" $ "key" $key) | fromJson }}
{{- if $section.enabled }}
{{- if and $section.secretKeys (not $section.existingSecret) }}{{ fail (printf "%s.secretKeys is set and existingSecret is not" $key) }}{{ end }}
{{- if and $section.existingSecret (not $section.secretKeys) (ne $component "ingest-k8s") }}{{ fail (printf "%s.existingSecret is set: name the settings that it holds in secretKeys" $key) }}{{ end }}
{{- if and $section.listen.enabled (not (has $component (include "leadsman.listeners" $ | fromJsonArray))) }}{{ fail (printf "%s.listen.enabled: %s takes no requests" $key $component) }}{{ end }}
{{- if and $section.listen.enabled $section.listen.clientCASecret (not $section.listen.tlsSecret) }}{{ fail (printf "%s.listen.clientCASecret is set and tlsSecret is not" $key) }}{{ end }}
{{- $scaling := $section.autoscaling }}
{{- if lt (int $scaling.maxReplicas) (int $scaling.minReplicas) }}{{ fail (printf "%s.autoscaling: maxReplicas is below minReplicas" $key) }}{{ end }}
{{- if eq $scaling.kind "keda" }}
{{- if hasPrefix "ingest" $key }}{{ fail (printf "%s reads no Kafka topic: autoscaling.kind can be none or hpa" $key) }}{{ end }}
{{- if and (or (hasPrefix "sasl" $protocol) $values.kafka.clientCertSecret) (not $scaling.authenticationRef) }}{{ fail (printf "%s.autoscaling.authenticationRef is not set: KEDA needs a TriggerAuthentication to ask these brokers for the lag" $key) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
{{- with $values.ingestAws }}
{{- if .enabled }}
{{- $section := include "leadsman.section" (dict "root" $ "key" "ingestAws") | fromJson }}
{{- $named := or $section.settings.kinesis_stream $section.settings.sqs_queues $section.settings.log_groups $section.listen.enabled }}
{{- if not $named }}{{ fail "ingestAws.settings: none of kinesis_stream, sqs_queues and log_groups is set, and listen is not enabled: there is nothing to read" }}{{ end }}
{{- $many := or (gt (int $section.replicas) 1) (ne $section.autoscaling.kind "none") }}
{{- $keeps := or $section.settings.kinesis_stream $section.settings.log_groups }}
{{- if and $many $keeps (not $section.settings.checkpoint_table) }}{{ fail "ingestAws.settings.checkpoint_table is not set: several pods share streams and log groups by leases in a DynamoDB table" }}{{ end }}
{{- end }}
{{- end }}
{{- if $values.ingestK8s.enabled }}
{{- $section := include "leadsman.section" (dict "root" $ "key" "ingestK8s") | fromJson }}
{{- if not $section.listen.enabled }}{{ fail "ingestK8s.listen.enabled is false: nothing could post to it" }}{{ end }}
{{- $anyone := eq (toString $section.settings.audit_anyone) "true" }}
{{- if eq (not $section.existingSecret) (not $anyone) }}{{ fail "ingestK8s: either existingSecret, whose key senders is the file of who may post for which cluster, or settings.audit_anyone=true" }}{{ end }}
{{- end }}
{{- if $values.ingestAzure.enabled }}
{{- if not (has "eventhubs_connection" (include "leadsman.section" (dict "root" $ "key" "ingestAzure") | fromJson).secretKeys) }}{{ fail "ingestAzure: existingSecret with secretKeys={eventhubs_connection} is not set: the connection string of the Event Hubs namespace" }}{{ end }}
{{- end }}
{{- if and $values.ingestKafka.enabled (not $values.ingestKafka.sourcesConfigMap) }}{{ fail "ingestKafka.sourcesConfigMap is not set: a ConfigMap whose key sources.yaml names the topics to read" }}{{ end }}
{{- with $values.notifier }}
{{- if and .notifyConfigMap .secretKeys }}{{ fail "notifier.secretKeys: with notifyConfigMap the channels and their secrets stand in notify.yaml (url_file: /etc/leadsman/channels/KEY, of channelsSecret)" }}{{ end }}
{{- if and .channels (not .notifyConfigMap) }}{{ fail "notifier.channels is set and notifyConfigMap, whose channels it names, is not" }}{{ end }}
{{- if and .notifyConfigMap (not .channels) (eq (include "leadsman.section" (dict "root" $ "key" "notifier") | fromJson).autoscaling.kind "keda") }}{{ fail "notifier.channels is not set: the names of notify.yaml's channels, whose lag KEDA asks for" }}{{ end }}
{{- if and .channelsSecret (not .notifyConfigMap) }}{{ fail "notifier.channelsSecret is set and notifyConfigMap, whose notify.yaml names its files, is not" }}{{ end }}
{{- end }}
{{- with $values.ingestGcp }}
{{- if .enabled }}
{{- $section := include "leadsman.section" (dict "root" $ "key" "ingestGcp") | fromJson }}
{{- if not (or $section.settings.pubsub_subscriptions $section.listen.enabled) }}{{ fail "ingestGcp.settings.pubsub_subscriptions is not set: projects/PROJECT/subscriptions/NAME, comma-separated (or listen.enabled, for push subscriptions)" }}{{ end }}
{{- if and $section.listen.enabled (not (and $section.settings.push_audiences $section.settings.push_emails)) }}{{ fail "ingestGcp.listen.enabled: settings.push_audiences and settings.push_emails say which tokens are taken" }}{{ end }}
{{- end }}
{{- end }}
{{- end }}
