variable "project" {
  type        = string
  description = "Project of the topic, the subscription and the service accounts; and of the sink where no folder or organization is given."
}

variable "name" {
  type        = string
  default     = "leadsman-audit"
  description = "Name of the sink and the topic, and the beginning of the others' names."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,21}[a-z0-9]$", var.name))
    error_message = "6 to 23 lower-case letters, digits and hyphens: service accounts take its beginning."
  }
}

variable "folder" {
  type        = string
  default     = ""
  description = "Folder id: the logs of every project below it. Empty: the project's own."
}

variable "organization" {
  type        = string
  default     = ""
  description = "Organization id: the logs of every project of it."
}

variable "control_plane_components" {
  type        = bool
  default     = false
  description = "Also the logs of API server, scheduler and controller manager, where the clusters send them."
}

variable "data_access" {
  type        = bool
  default     = false
  description = "Switch on Data Access logs of GKE in the project: reads, and attach and port-forward over WebSocket."
}

variable "retention" {
  type        = string
  default     = "604800s"
  description = "How long Pub/Sub keeps what is not acknowledged: seven days at most."
}

variable "exactly_once" {
  type        = bool
  default     = false
  description = "Exactly-once delivery of the pull subscription. Leadsman needs it not: a repeat has the same id."
}

variable "workload_identity" {
  type        = string
  default     = ""
  description = "PROJECT.svc.id.goog[NAMESPACE/SERVICE_ACCOUNT] of ingest-gcp in Kubernetes; empty: none."
}

variable "push_endpoint" {
  type        = string
  default     = ""
  description = "https://HOST/pubsub/push of ingest-gcp: a push subscription in place of the pull one."
}
