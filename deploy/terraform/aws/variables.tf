variable "name" {
  description = "Name, or beginning of the name, of everything that is made here"
  type        = string
  default     = "leadsman"
}

variable "clusters" {
  description = "EKS clusters of this account and region whose control-plane logs are read; logging must be on (docs/sources/aws.md)"
  type        = set(string)
  default     = []
}

variable "carrier" {
  description = "How CloudWatch Logs hands over: kinesis, firehose (to ingest-aws over HTTPS), s3 (Firehose to a bucket), or none (polling)"
  type        = string
  default     = "kinesis"
  validation {
    condition     = contains(["kinesis", "firehose", "s3", "none"], var.carrier)
    error_message = "carrier is kinesis, firehose, s3 or none."
  }
}

variable "existing_stream_arn" {
  description = "A Kinesis stream that has the logs already: nothing is made but the permission to read it"
  type        = string
  default     = ""
}

variable "shards" {
  description = "Shards of the stream; 0 lets Kinesis scale it (on demand)"
  type        = number
  default     = 0
}

variable "retention_hours" {
  description = "How long the stream keeps records: the longest outage of Leadsman that loses nothing"
  type        = number
  default     = 72
}

variable "account_level" {
  description = "One account-level subscription filter for all /aws/eks/ groups, instead of one of the two that each log group may have"
  type        = bool
  default     = false
}

variable "firehose_endpoint" {
  description = "https URL of ingest-aws with the path /firehose, where carrier is firehose"
  type        = string
  default     = ""
}

variable "firehose_access_key" {
  description = "The access key that Firehose sends; one of LEADSMAN_FIREHOSE_ACCESS_KEYS"
  type        = string
  default     = ""
  sensitive   = true
}

variable "cloudtrail" {
  description = "create: a trail, its bucket and its queue. existing: a queue for the bucket that existing_trail_bucket names. none"
  type        = string
  default     = "create"
  validation {
    condition     = contains(["create", "existing", "none"], var.cloudtrail)
    error_message = "cloudtrail is create, existing or none."
  }
}

variable "existing_trail_bucket" {
  description = "Bucket that a trail writes to already. Its notifications are replaced unless trail_notifications is false"
  type        = string
  default     = ""
}

variable "trail_notifications" {
  description = "Let S3 tell the queue of new files; false where the bucket's notifications are kept elsewhere"
  type        = bool
  default     = true
}

variable "trail_retention_days" {
  description = "Days that the trail's files, and those of Firehose, are kept"
  type        = number
  default     = 90
}

variable "event_bridge" {
  description = "CloudTrail events of EKS, STS and IAM through EventBridge, within a minute or so instead of five to fifteen"
  type        = bool
  default     = true
}

variable "kms_key_arns" {
  description = "KMS keys that the stream, the buckets or the queues are encrypted with and the role must use"
  type        = list(string)
  default     = []
}

variable "oidc_provider_arn" {
  description = "OIDC provider of the cluster that Leadsman runs in, for IRSA; empty: EKS Pod Identity may take the role"
  type        = string
  default     = ""
}

variable "service_account" {
  description = "NAMESPACE:NAME of the service account of ingest-aws, for IRSA"
  type        = string
  default     = "leadsman:leadsman-ingest-aws"
}

variable "trusted_role_arns" {
  description = "Roles of another account that may assume this one: there stands LEADSMAN_ASSUME_ROLES"
  type        = list(string)
  default     = []
}

variable "external_id" {
  description = "External id that they must give"
  type        = string
  default     = ""
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
  default     = {}
}
