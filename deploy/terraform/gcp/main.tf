# What Leadsman needs of Google Cloud: a log sink, a Pub/Sub topic, a subscription, and identities that may do no more.
# One module for a project, a folder or an organization; the subscription stands in `project`.

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0"
    }
  }
}

locals {
  # Admin Activity, System Event, Policy Denied and, where it is switched on, Data Access; leases are half of all writes.
  audit = <<-EOT
    logName=~"cloudaudit.googleapis.com%2F(activity|data_access|system_event|policy)"
    AND (protoPayload.serviceName=("k8s.io" OR "container.googleapis.com")
         OR (protoPayload.serviceName="iam.googleapis.com" AND protoPayload.methodName=~"SetIamPolicy$|SetIAMPolicy$")
         OR (protoPayload.serviceName="logging.googleapis.com" AND protoPayload.methodName=~"Sink$|Exclusion$"))
    AND NOT protoPayload.methodName=~"^io\.k8s\.coordination\."
  EOT
  # the control plane's own components: apiserver, scheduler, controller-manager
  components = <<-EOT
    resource.type="k8s_control_plane_component"
  EOT
  filter     = var.control_plane_components ? "(${trimspace(local.audit)}) OR (${trimspace(local.components)})" : trimspace(local.audit)
  writer = coalesce(
    try(google_logging_project_sink.this[0].writer_identity, null),
    try(google_logging_folder_sink.this[0].writer_identity, null),
    try(google_logging_organization_sink.this[0].writer_identity, null),
  )
  push = var.push_endpoint != ""
}

resource "google_pubsub_topic" "audit" {
  project = var.project
  name    = var.name
  # what an outage of Leadsman may last beyond the subscription's own retention
  message_retention_duration = var.retention
}

resource "google_logging_project_sink" "this" {
  count                  = var.folder == "" && var.organization == "" ? 1 : 0
  project                = var.project
  name                   = var.name
  destination            = "pubsub.googleapis.com/${google_pubsub_topic.audit.id}"
  filter                 = local.filter
  unique_writer_identity = true
}

resource "google_logging_folder_sink" "this" {
  count            = var.folder == "" ? 0 : 1
  folder           = var.folder
  name             = var.name
  destination      = "pubsub.googleapis.com/${google_pubsub_topic.audit.id}"
  filter           = local.filter
  include_children = true
}

resource "google_logging_organization_sink" "this" {
  count            = var.organization == "" ? 0 : 1
  org_id           = var.organization
  name             = var.name
  destination      = "pubsub.googleapis.com/${google_pubsub_topic.audit.id}"
  filter           = local.filter
  include_children = true
}

# the sink may publish to this topic and do nothing else
resource "google_pubsub_topic_iam_member" "sink" {
  project = var.project
  topic   = google_pubsub_topic.audit.name
  role    = "roles/pubsub.publisher"
  member  = local.writer
}

resource "google_service_account" "ingest" {
  project      = var.project
  account_id   = "${var.name}-ingest"
  display_name = "Leadsman ingest-gcp"
}

resource "google_pubsub_subscription" "pull" {
  count                        = local.push ? 0 : 1
  project                      = var.project
  name                         = "${var.name}-pull"
  topic                        = google_pubsub_topic.audit.id
  ack_deadline_seconds         = 60
  message_retention_duration   = var.retention
  enable_exactly_once_delivery = var.exactly_once
  expiration_policy {
    ttl = "" # never: a subscription that expires takes its messages with it
  }
}

# ingest-gcp may pull from this subscription and do nothing else
resource "google_pubsub_subscription_iam_member" "pull" {
  count        = local.push ? 0 : 1
  project      = var.project
  subscription = google_pubsub_subscription.pull[0].name
  role         = "roles/pubsub.subscriber"
  member       = "serviceAccount:${google_service_account.ingest.email}"
}

# Workload Identity: the Kubernetes service account that ingest-gcp runs as
resource "google_service_account_iam_member" "workload" {
  count              = var.workload_identity == "" ? 0 : 1
  service_account_id = google_service_account.ingest.name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.workload_identity}"
}

# push: the account whose tokens Pub/Sub signs its requests with
resource "google_service_account" "push" {
  count        = local.push ? 1 : 0
  project      = var.project
  account_id   = "${var.name}-push"
  display_name = "Leadsman: signs what Pub/Sub pushes"
}

resource "google_pubsub_subscription" "push" {
  count                      = local.push ? 1 : 0
  project                    = var.project
  name                       = "${var.name}-push"
  topic                      = google_pubsub_topic.audit.id
  ack_deadline_seconds       = 60
  message_retention_duration = var.retention
  push_config {
    push_endpoint = var.push_endpoint
    oidc_token {
      service_account_email = google_service_account.push[0].email
      audience              = var.push_endpoint
    }
  }
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }
  expiration_policy {
    ttl = ""
  }
}

# Reads of the Kubernetes API are in no log unless this is on; it costs what Cloud Logging asks for the volume.
resource "google_project_iam_audit_config" "reads" {
  count   = var.data_access ? 1 : 0
  project = var.project
  service = "container.googleapis.com"
  audit_log_config {
    log_type = "DATA_READ"
  }
  audit_log_config {
    log_type = "ADMIN_READ"
  }
}
