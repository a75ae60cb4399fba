# One spot instance at a time, replaced unattended; desired capacity 0, set by the instance itself, is the end.
locals {
  ami_parameters = {
    gpu = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
    cpu = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
  }
  image_id = var.ami_id == null ? data.aws_ssm_parameter.ami[0].insecure_value : var.ami_id
}

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0

  name = local.ami_parameters[var.accelerator]
}

# The instance that is there now, and the same only if it works for the run that this apply speaks of.
data "aws_instances" "present" {
  instance_state_names = ["pending", "running"]
  instance_tags        = { "aws:autoscaling:groupName" = local.group_name }
}

data "aws_instances" "of_this_run" {
  instance_state_names = ["pending", "running"]
  instance_tags        = merge({ "aws:autoscaling:groupName" = local.group_name }, local.run_tags)
}

resource "aws_launch_template" "instance" {
  name                   = local.name
  description            = "The training instance of ${local.name}"
  update_default_version = true

  image_id               = local.image_id
  key_name               = var.key_pair_name
  vpc_security_group_ids = [aws_security_group.instance.id]
  user_data              = local.user_data_gzip

  iam_instance_profile {
    arn = aws_iam_instance_profile.instance.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/sda1"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.volume_gb
      encrypted             = true
      delete_on_termination = true
    }
  }

  # The provider's default tags stop at the template; what is launched from it is tagged here.
  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface", "spot-instances-request"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, local.run_tags, { Name = local.name })
    }
  }

  lifecycle {
    precondition {
      condition     = length(setsubtract(data.aws_instances.present.ids, data.aws_instances.of_this_run.ids)) == 0
      error_message = "The instance ${join(", ", setsubtract(data.aws_instances.present.ids, data.aws_instances.of_this_run.ids))} works for another run, or for this one with other settings, and would go on with them. Nothing is changed. Run `make stop`, which saves everything and ends it, then terraform apply, then `make start`. (Any other value of run_id, training, accelerator, endpoint_mode, domain_name, route53_zone_id or wandb, and the first IPv6 network of home_cidrs, needs this; budget_usd, max_hours and idle_minutes reach a running instance by themselves.)"
    }

    precondition {
      condition     = local.user_data_bytes < 16384
      error_message = "The instance's user_data has ${local.user_data_bytes} bytes; EC2 takes fewer than 16384. Shorten train_cloud/instance/boot.sh or lifeline.sh, or move code from them to files that are fetched from the bucket."
    }
  }

  # Whoever boots from a new version of the template finds its code.
  depends_on = [aws_s3_object.manifest]
}

resource "aws_autoscaling_group" "instance" {
  name                = local.group_name
  min_size            = 0
  max_size            = 1
  desired_capacity    = 1
  vpc_zone_identifier = [for subnet in aws_subnet.public : subnet.id]
  health_check_type   = "EC2"

  # true launches the next instance before the former ends: two trainers of one run.
  capacity_rebalance = false

  # With no spot capacity at the moment, apply is done all the same; the group goes on asking.
  wait_for_capacity_timeout = "0"

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = 0
      on_demand_percentage_above_base_capacity = 0
      spot_allocation_strategy                 = "price-capacity-optimized"
      spot_max_price                           = var.max_spot_price == null ? null : tostring(var.max_spot_price)
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.instance.id
        # New code reaches the next launch without a change of the group.
        version = "$Latest"
      }

      dynamic "override" {
        for_each = local.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  # The provider's default tags do not reach a group.
  dynamic "tag" {
    for_each = merge(local.tags, { Name = local.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # The instance sets 0 when the run is done, `make start` sets 1: no apply may undo that.
    ignore_changes = [desired_capacity]
  }

  # A boot never races what it needs, and destroy ends the writer before it takes away its rights and empties the bucket.
  depends_on = [
    aws_iam_role_policy.instance,
    aws_route.internet,
    aws_route.internet_ipv6,
    aws_route_table_association.public,
    aws_s3_bucket_lifecycle_configuration.run,
    aws_s3_bucket_policy.run,
    aws_s3_object.code,
    aws_s3_object.manifest,
    aws_route53_record.endpoint,
    aws_ssm_parameter.certificate,
    aws_ssm_parameter.dashboard,
    aws_ssm_parameter.endpoint,
    aws_ssm_parameter.limits,
    aws_ssm_parameter.tls,
    aws_ssm_parameter.token,
    aws_ssm_parameter.wandb,
    aws_cloudwatch_log_group.instance,
    aws_vpc_security_group_egress_rule.web,
    aws_vpc_security_group_egress_rule.web_ipv6,
    aws_vpc_security_group_ingress_rule.home,
    aws_vpc_endpoint.s3,
  ]
}

# The guard outside the instance: should its own watch fail, the group is emptied from here, as soon as the budget would
# be spent at the dearest type's price, and an hour after max_hours at the latest. An instance that counts its money moves
# the time on, by what is left of it (train_cloud/instance/minute.py), and `make start` sets it anew.
resource "aws_autoscaling_schedule" "max_hours" {
  scheduled_action_name  = local.schedule_name
  autoscaling_group_name = aws_autoscaling_group.instance.name
  min_size               = -1
  max_size               = -1
  desired_capacity       = 0
  start_time             = timeadd(plantimestamp(), "${local.guard_minutes}m")

  lifecycle {
    ignore_changes = [start_time]
    # Other limits, another time.
    replace_triggered_by = [aws_ssm_parameter.limits.insecure_value]
  }
}
