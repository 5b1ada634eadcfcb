# The role of ingest-aws: it reads what was made or named here, and nothing else.

resource "aws_iam_role" "ingest" {
  name = "${var.name}-ingest-aws"
  tags = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      var.oidc_provider_arn == "" ? [{
        Effect    = "Allow"
        Action    = ["sts:AssumeRole", "sts:TagSession"]
        Principal = { Service = "pods.eks.amazonaws.com" }
        Condition = null
        }] : [{
        Effect    = "Allow"
        Action    = ["sts:AssumeRoleWithWebIdentity"]
        Principal = { Federated = var.oidc_provider_arn }
        Condition = {
          StringEquals = {
            "${local.oidc_issuer}:sub" = "system:serviceaccount:${var.service_account}"
            "${local.oidc_issuer}:aud" = "sts.amazonaws.com"
          }
        }
      }],
      length(var.trusted_role_arns) == 0 ? [] : [{
        Effect    = "Allow"
        Action    = ["sts:AssumeRole"]
        Principal = { AWS = var.trusted_role_arns }
        Condition = var.external_id == "" ? null : { StringEquals = { "sts:ExternalId" = var.external_id } }
      }],
    )
  })
}

locals {
  oidc_issuer = element(split("oidc-provider/", "${var.oidc_provider_arn}oidc-provider/"), 1)

  statements = concat(
    [{
      Action   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
      Resource = [aws_dynamodb_table.checkpoints.arn]
    }],
    local.makes_stream || var.existing_stream_arn != "" ? [{
      Action   = ["kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
      Resource = [local.stream_arn]
    }] : [],
    length(local.queue_arns) == 0 ? [] : [{
      Action   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
      Resource = local.queue_arns
    }],
    length(local.buckets) == 0 ? [] : [{
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = [for bucket in local.buckets : "arn:${local.partition}:s3:::${bucket}/*"]
    }],
    length(var.clusters) == 0 ? [] : [{
      Action   = ["logs:FilterLogEvents"]
      Resource = [for group in values(local.log_groups) : "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${group}:*"]
    }],
    length(var.kms_key_arns) == 0 ? [] : [{
      Action   = ["kms:Decrypt"]
      Resource = var.kms_key_arns
    }],
  )
}

resource "aws_iam_role_policy" "ingest" {
  name = "read"
  role = aws_iam_role.ingest.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [for statement in local.statements : merge({ Effect = "Allow" }, statement)]
  })
}
