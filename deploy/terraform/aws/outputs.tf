output "settings" {
  description = "Settings of ingest-aws, as environment variables; what is empty is not needed"
  value = {
    LEADSMAN_AWS_REGION        = local.region
    LEADSMAN_CHECKPOINT_TABLE  = aws_dynamodb_table.checkpoints.name
    LEADSMAN_KINESIS_STREAM    = local.makes_stream || var.existing_stream_arn != "" ? local.stream_arn : ""
    LEADSMAN_SUBSCRIBED_GROUPS = var.account_level ? "/aws/eks/" : ""
    LEADSMAN_SQS_QUEUES        = join(",", local.queue_urls)
    LEADSMAN_S3_BUCKETS        = join(",", local.buckets)
    LEADSMAN_LOG_GROUPS        = var.carrier == "none" && var.existing_stream_arn == "" ? join(",", [for group in values(local.log_groups) : "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${group}"]) : ""
  }
}

output "secret_settings" {
  description = "The secret setting of ingest-aws, with carrier firehose"
  sensitive   = true
  value = {
    LEADSMAN_FIREHOSE_ACCESS_KEYS = var.firehose_access_key
  }
}

output "assume_roles" {
  description = "This account's part of LEADSMAN_ASSUME_ROLES, for an ingest-aws that runs in another account"
  value       = "${local.account}=${aws_iam_role.ingest.arn}"
}

output "role_arn" {
  description = "The role of ingest-aws: ingestAws.serviceAccount.annotations \"eks.amazonaws.com/role-arn\" of the chart"
  value       = aws_iam_role.ingest.arn
}
