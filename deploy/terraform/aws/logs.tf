# CloudWatch Logs: subscription filters, and what they hand over to.

resource "aws_kinesis_stream" "logs" {
  count            = local.makes_stream ? 1 : 0
  name             = "${var.name}-logs"
  retention_period = var.retention_hours
  shard_count      = var.shards > 0 ? var.shards : null
  encryption_type  = "KMS"
  kms_key_id       = "alias/aws/kinesis"
  tags             = var.tags

  stream_mode_details {
    stream_mode = var.shards > 0 ? "PROVISIONED" : "ON_DEMAND"
  }
}

resource "aws_kinesis_firehose_delivery_stream" "logs" {
  count       = local.makes_firehose ? 1 : 0
  name        = "${var.name}-logs"
  destination = var.carrier == "firehose" ? "http_endpoint" : "extended_s3"
  tags        = var.tags

  dynamic "http_endpoint_configuration" {
    for_each = var.carrier == "firehose" ? [1] : []
    content {
      name               = "leadsman"
      url                = var.firehose_endpoint
      access_key         = var.firehose_access_key
      role_arn           = aws_iam_role.firehose[0].arn
      buffering_size     = 2 # MiB: base64 and JSON come on top, and LEADSMAN_MAX_BODY_BYTES is 16 MiB
      buffering_interval = 10
      retry_duration     = 7200 # the longest; what fails for longer is in the bucket
      s3_backup_mode     = "FailedDataOnly"

      request_configuration {
        content_encoding = "GZIP"
      }

      s3_configuration {
        role_arn           = aws_iam_role.firehose[0].arn
        bucket_arn         = aws_s3_bucket.exports[0].arn
        prefix             = "failed/"
        buffering_size     = 5
        buffering_interval = 60
      }
    }
  }

  dynamic "extended_s3_configuration" {
    for_each = var.carrier == "s3" ? [1] : []
    content {
      role_arn            = aws_iam_role.firehose[0].arn
      bucket_arn          = aws_s3_bucket.exports[0].arn
      prefix              = "logs/"
      error_output_prefix = "errors/"
      buffering_size      = 5
      buffering_interval  = 60
      compression_format  = "UNCOMPRESSED" # CloudWatch's records are gzip already
    }
  }
}

# Where Firehose writes: all of it with carrier s3, what it could not deliver with carrier firehose. Both are read from here.
resource "aws_s3_bucket" "exports" {
  count         = local.makes_firehose ? 1 : 0
  bucket_prefix = "${var.name}-logs-"
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "exports" {
  count                   = local.makes_firehose ? 1 : 0
  bucket                  = aws_s3_bucket.exports[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "exports" {
  count  = local.makes_firehose ? 1 : 0
  bucket = aws_s3_bucket.exports[0].id

  rule {
    id     = "expire"
    status = "Enabled"
    filter {}
    expiration {
      days = var.trail_retention_days
    }
  }
}

resource "aws_s3_bucket_notification" "exports" {
  count  = local.makes_firehose ? 1 : 0
  bucket = aws_s3_bucket.exports[0].id

  queue {
    queue_arn = aws_sqs_queue.files[0].arn
    events    = ["s3:ObjectCreated:*"]
  }

  depends_on = [aws_sqs_queue_policy.files]
}

# The role that CloudWatch Logs writes with.
resource "aws_iam_role" "subscription" {
  count = local.subscribes ? 1 : 0
  name  = "${var.name}-subscription"
  tags  = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "logs.amazonaws.com" }
      Condition = { StringLike = { "aws:SourceArn" = "arn:${local.partition}:logs:${local.region}:${local.account}:*" } }
    }]
  })
}

resource "aws_iam_role_policy" "subscription" {
  count = local.subscribes ? 1 : 0
  name  = "put"
  role  = aws_iam_role.subscription[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = local.makes_stream ? ["kinesis:PutRecord"] : ["firehose:PutRecord", "firehose:PutRecordBatch"]
      Resource = local.carrier_arn
    }]
  })
}

resource "aws_cloudwatch_log_subscription_filter" "cluster" {
  for_each        = local.subscribes && !var.account_level ? local.log_groups : {}
  name            = var.name
  log_group_name  = each.value
  filter_pattern  = "" # everything: what is filtered here is not there to be detected
  destination_arn = local.carrier_arn
  role_arn        = aws_iam_role.subscription[0].arn
  distribution    = "ByLogStream"

  depends_on = [aws_iam_role_policy.subscription]
}

resource "aws_cloudwatch_log_account_policy" "all" {
  count              = local.subscribes && var.account_level ? 1 : 0
  policy_name        = var.name
  policy_type        = "SUBSCRIPTION_FILTER_POLICY"
  selection_criteria = "LogGroupName NOT IN [\"${var.name}-never\"]"

  policy_document = jsonencode({
    DestinationArn = local.carrier_arn
    RoleArn        = aws_iam_role.subscription[0].arn
    FilterPattern  = ""
    Distribution   = "ByLogStream"
  })

  depends_on = [aws_iam_role_policy.subscription]
}

# The role that Firehose writes with.
resource "aws_iam_role" "firehose" {
  count = local.makes_firehose ? 1 : 0
  name  = "${var.name}-firehose"
  tags  = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "firehose.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "firehose" {
  count = local.makes_firehose ? 1 : 0
  name  = "write"
  role  = aws_iam_role.firehose[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket",
        "s3:ListBucketMultipartUploads", "s3:PutObject",
      ]
      Resource = [aws_s3_bucket.exports[0].arn, "${aws_s3_bucket.exports[0].arn}/*"]
    }]
  })
}
