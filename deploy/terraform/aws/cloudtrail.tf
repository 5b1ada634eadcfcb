# CloudTrail: files in S3 told of through a queue, and events through EventBridge.

locals {
  makes_trail  = var.cloudtrail == "create"
  reads_trail  = var.cloudtrail != "none"
  trail_bucket = local.makes_trail ? one(aws_s3_bucket.trail[*].id) : var.existing_trail_bucket
  makes_queue  = local.reads_trail || local.makes_firehose
  queue_arns   = concat(aws_sqs_queue.files[*].arn, aws_sqs_queue.events[*].arn)
  queue_urls   = concat(aws_sqs_queue.files[*].url, aws_sqs_queue.events[*].url)
  buckets      = compact(concat([local.reads_trail ? local.trail_bucket : ""], aws_s3_bucket.exports[*].id))
}

resource "aws_s3_bucket" "trail" {
  count         = local.makes_trail ? 1 : 0
  bucket_prefix = "${var.name}-trail-"
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "trail" {
  count                   = local.makes_trail ? 1 : 0
  bucket                  = aws_s3_bucket.trail[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "trail" {
  count  = local.makes_trail ? 1 : 0
  bucket = aws_s3_bucket.trail[0].id

  rule {
    id     = "expire"
    status = "Enabled"
    filter {}
    expiration {
      days = var.trail_retention_days
    }
  }
}

resource "aws_s3_bucket_policy" "trail" {
  count  = local.makes_trail ? 1 : 0
  bucket = aws_s3_bucket.trail[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = "s3:GetBucketAcl"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Resource  = aws_s3_bucket.trail[0].arn
        Condition = { StringEquals = { "aws:SourceArn" = local.trail_arn } }
      },
      {
        Effect    = "Allow"
        Action    = "s3:PutObject"
        Principal = { Service = "cloudtrail.amazonaws.com" }
        Resource  = "${aws_s3_bucket.trail[0].arn}/AWSLogs/${local.account}/*"
        Condition = { StringEquals = { "s3:x-amz-acl" = "bucket-owner-full-control", "aws:SourceArn" = local.trail_arn } }
      },
    ]
  })
}

locals {
  trail_arn = "arn:${local.partition}:cloudtrail:${local.region}:${local.account}:trail/${var.name}"
}

resource "aws_cloudtrail" "trail" {
  count                         = local.makes_trail ? 1 : 0
  name                          = var.name
  s3_bucket_name                = aws_s3_bucket.trail[0].id
  is_multi_region_trail         = true
  include_global_service_events = true
  enable_log_file_validation    = true
  tags                          = var.tags

  depends_on = [aws_s3_bucket_policy.trail]
}

resource "aws_s3_bucket_notification" "trail" {
  count  = local.reads_trail && var.trail_notifications ? 1 : 0
  bucket = local.trail_bucket

  queue {
    queue_arn     = aws_sqs_queue.files[0].arn
    events        = ["s3:ObjectCreated:*"]
    filter_prefix = "AWSLogs/"
  }

  depends_on = [aws_sqs_queue_policy.files]
}

# What cannot be read five times over (a permission that is missing) waits there for a person.
resource "aws_sqs_queue" "failed" {
  count                     = local.makes_queue || var.event_bridge ? 1 : 0
  name                      = "${var.name}-failed"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = true
  tags                      = var.tags
}

resource "aws_sqs_queue" "files" {
  count                      = local.makes_queue ? 1 : 0
  name                       = "${var.name}-files"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 120
  sqs_managed_sse_enabled    = true
  tags                       = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.failed[0].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_policy" "files" {
  count     = local.makes_queue ? 1 : 0
  queue_url = aws_sqs_queue.files[0].url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sqs:SendMessage"
      Principal = { Service = "s3.amazonaws.com" }
      Resource  = aws_sqs_queue.files[0].arn
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = [for bucket in local.buckets : "arn:${local.partition}:s3:::${bucket}"] }
      }
    }]
  })
}

resource "aws_sqs_queue" "events" {
  count                      = var.event_bridge ? 1 : 0
  name                       = "${var.name}-events"
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 120
  sqs_managed_sse_enabled    = true
  tags                       = var.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.failed[0].arn
    maxReceiveCount     = 5
  })
}

resource "aws_sqs_queue_policy" "events" {
  count     = var.event_bridge ? 1 : 0
  queue_url = aws_sqs_queue.events[0].url

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sqs:SendMessage"
      Principal = { Service = "events.amazonaws.com" }
      Resource  = aws_sqs_queue.events[0].arn
      Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.calls[0].arn } }
    }]
  })
}

resource "aws_cloudwatch_event_rule" "calls" {
  count       = var.event_bridge ? 1 : 0
  name        = "${var.name}-calls"
  description = "CloudTrail events that bear on EKS clusters"
  tags        = var.tags

  event_pattern = jsonencode({
    detail-type = ["AWS API Call via CloudTrail"]
    detail = {
      eventSource = ["eks.amazonaws.com", "eks-auth.amazonaws.com", "sts.amazonaws.com", "iam.amazonaws.com", "logs.amazonaws.com"]
    }
  })
}

resource "aws_cloudwatch_event_target" "calls" {
  count = var.event_bridge ? 1 : 0
  rule  = aws_cloudwatch_event_rule.calls[0].name
  arn   = aws_sqs_queue.events[0].arn
}
