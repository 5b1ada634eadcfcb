# each output is named as the setting of ingest-gcp that takes it

output "LEADSMAN_PUBSUB_SUBSCRIPTIONS" {
  value       = local.push ? "" : google_pubsub_subscription.pull[0].id
  description = "The subscription to pull."
}

output "LEADSMAN_PUSH_AUDIENCES" {
  value       = local.push ? var.push_endpoint : ""
  description = "The audience of the push subscription's tokens."
}

output "LEADSMAN_PUSH_EMAILS" {
  value       = local.push ? google_service_account.push[0].email : ""
  description = "The account that signs them."
}

output "service_account" {
  value       = google_service_account.ingest.email
  description = "What ingest-gcp runs as, to pull: the annotation iam.gke.io/gcp-service-account, or a key's account."
}
