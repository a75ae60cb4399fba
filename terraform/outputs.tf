locals {
  find_instance    = "aws ec2 describe-instances --region ${var.region} --filters Name=tag:aws:autoscaling:groupName,Values=${local.group_name} Name=instance-state-name,Values=running"
  instance_id      = "\"$(${local.find_instance} --query 'Reservations[].Instances[].InstanceId' --output text)\""
  ssh_host         = local.public_host == null ? "\"$(${local.find_instance} --query 'Reservations[].Instances[].PublicIpAddress' --output text)\"" : local.public_host
  start_session    = "aws ssm start-session --region ${var.region} --target ${local.instance_id}"
  tensorboard_host = var.tensorboard_port_open ? local.public_host : "localhost"
}

output "bridge_endpoint" {
  description = "Where bridges dial (wss://host:port, without the token); null with endpoint_mode = \"ssm\", where the pairing looks it up."
  value       = local.public_host == null ? null : "wss://${local.public_host}:${local.listen_port}"
}

output "pair_command" {
  description = "Waits for the instance and prints the pairing string for the gaming PC."
  value       = "make pair"
}

output "ssh_command" {
  description = "A shell by SSH; null without key_pair_name, then use session_command."
  value       = var.key_pair_name == null ? null : "ssh ubuntu@${local.ssh_host}"
}

output "session_command" {
  description = "A shell on the running instance by Session Manager, without an open port."
  value       = local.start_session
}

output "logs_command" {
  description = "Follows the training's journal on the running instance; `make logs` shows what the bucket keeps, also after its end."
  value       = "${local.start_session} --document-name AWS-StartInteractiveCommand --parameters 'command=[\"sudo journalctl -u ac-training -f\"]'"
}

output "dashboard_command" {
  description = "Prints a link to the dashboard that lets in once, within some minutes."
  value       = "make dashboard-link"
}

output "dashboard_tunnel_command" {
  description = "Opens the tunnel to the dashboard, to which `make dashboard-link TUNNEL=1` then leads; null when its port is open."
  value       = var.dashboard_port_open ? null : "${local.start_session} --document-name AWS-StartPortForwardingSession --parameters portNumber=${local.dashboard_port},localPortNumber=${local.dashboard_port}"
}

output "tensorboard_url" {
  description = "TensorBoard: at localhost through the tunnel of tensorboard_command, or at the instance with tensorboard_port_open; null with endpoint_mode = \"ssm\" and an open port."
  value       = local.tensorboard_host == null ? null : "http://${local.tensorboard_host}:${local.tensorboard_port}"
}

output "tensorboard_command" {
  description = "Opens the tunnel to TensorBoard; null when its port is open."
  value       = var.tensorboard_port_open ? null : "${local.start_session} --document-name AWS-StartPortForwardingSession --parameters portNumber=${local.tensorboard_port},localPortNumber=${local.tensorboard_port}"
}

output "bucket" {
  description = "Bucket that keeps code, environments, experience and checkpoints."
  value       = aws_s3_bucket.run.id
}

output "start_command" {
  description = "Starts the run again after it ended (idle, over budget, stopped)."
  value       = "make start"
}

output "stop_command" {
  description = "Ends the run with a checkpoint; nothing runs or bills by the hour afterwards but the fixed address."
  value       = "make stop"
}

output "hourly_cost_usd" {
  description = "Estimate of an hour of training by prices.json: the dearest listed type at its typical spot price, disk, address (US dollars); null when prices.json does not know a type."
  value       = local.hourly_cost_usd
}

output "monthly_cost_usd" {
  description = "The same for a month of training around the clock (730 hours); a run ends itself long before, at budget_usd at the latest. null like hourly_cost_usd."
  value       = local.monthly_cost_usd
}

output "stopped_monthly_cost_usd" {
  description = "Estimate of a month in which nothing runs: the fixed address (US dollars); the bucket's storage comes on top (0.023 a GB)."
  value       = local.stopped_month_usd
}

output "deployment" {
  description = "What the operator's commands (make pair, status, start, ...) need to know of this deployment; no secrets."
  value = {
    name                = local.name
    region              = var.region
    bucket              = aws_s3_bucket.run.id
    run_id              = var.run_id
    group               = aws_autoscaling_group.instance.name
    schedule            = aws_autoscaling_schedule.max_hours.scheduled_action_name
    endpoint_mode       = var.endpoint_mode
    token_parameter     = aws_ssm_parameter.token.name
    dashboard_parameter = aws_ssm_parameter.dashboard.name
    tls_parameter       = aws_ssm_parameter.tls.name
    endpoint_parameter  = aws_ssm_parameter.endpoint.name
    wandb_parameter     = local.wandb_parameter
    log_group           = local.log_group_name
    budget_usd          = var.budget_usd
    max_hours           = var.max_hours
    guard_hours         = local.guard_minutes / 60
    guard_usd_per_hour  = local.guard_usd
    idle_minutes        = var.idle_minutes
    max_launches        = var.max_launches
    instance_types      = local.instance_types
    volume_gb           = var.volume_gb
    hourly_extra_usd    = local.hourly_extra_usd
    listen_port         = local.listen_port
    dashboard_port      = local.dashboard_port
    dashboard_open      = var.dashboard_port_open
    total_timesteps     = local.run.total_timesteps
  }
}
