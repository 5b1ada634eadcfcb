# What the files of this folder share. docs/sources/aws.md tells what each part is for and what it costs.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account        = data.aws_caller_identity.current.account_id
  partition      = data.aws_partition.current.partition
  region         = data.aws_region.current.name
  log_groups     = { for cluster in var.clusters : cluster => "/aws/eks/${cluster}/cluster" }
  makes_stream   = var.carrier == "kinesis" && var.existing_stream_arn == ""
  makes_firehose = contains(["firehose", "s3"], var.carrier)
  stream_arn     = var.existing_stream_arn != "" ? var.existing_stream_arn : one(aws_kinesis_stream.logs[*].arn)
  carrier_arn    = local.makes_stream ? one(aws_kinesis_stream.logs[*].arn) : one(aws_kinesis_firehose_delivery_stream.logs[*].arn)
  subscribes     = local.makes_stream || local.makes_firehose
}

# Checkpoints and leases, which the workers share; also where log groups are polled.
resource "aws_dynamodb_table" "checkpoints" {
  name         = "${var.name}-checkpoints"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "stream"
  range_key    = "shard"
  tags         = var.tags

  attribute {
    name = "stream"
    type = "S"
  }

  attribute {
    name = "shard"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled = true
  }
}
