# What is launched, what it costs at most, and how it ends.
mock_provider "aws" {
  source = "./tests/mocks"
}

# Never called: secrets.tf draws no token here.
provider "aws" {
  alias                       = "tokens"
  region                      = "us-east-1"
  access_key                  = "none"
  secret_key                  = "none"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variables {
  home_cidrs = ["8.8.8.8/32"]
}

run "runs_one_spot_instance_at_most_from_a_hardened_template" {
  command = plan

  assert {
    condition     = aws_autoscaling_group.instance.min_size == 0 && aws_autoscaling_group.instance.max_size == 1 && aws_autoscaling_group.instance.desired_capacity == 1
    error_message = "The group is not 0 to 1 with 1 at the start."
  }

  assert {
    condition     = aws_autoscaling_group.instance.capacity_rebalance == false && aws_autoscaling_group.instance.wait_for_capacity_timeout == "0"
    error_message = "Two trainers could run side by side, or apply waits for capacity."
  }

  assert {
    condition = alltrue([
      for it in aws_autoscaling_group.instance.mixed_instances_policy[0].instances_distribution :
      it.on_demand_base_capacity == 0 && it.on_demand_percentage_above_base_capacity == 0 && it.spot_allocation_strategy == "price-capacity-optimized"
    ])
    error_message = "It is not spot capacity alone."
  }

  assert {
    condition     = length(aws_autoscaling_group.instance.mixed_instances_policy[0].launch_template[0].override) >= 3
    error_message = "Fewer than three types: interruptions would be frequent."
  }

  assert {
    condition     = length(aws_launch_template.instance.instance_market_options) == 0
    error_message = "The template asks for spot itself, which a group's mixed policy refuses."
  }

  assert {
    condition     = aws_autoscaling_schedule.max_hours.desired_capacity == 0 && aws_autoscaling_schedule.max_hours.min_size == -1 && aws_autoscaling_schedule.max_hours.max_size == -1
    error_message = "The outer guard does not empty the group, or changes its limits."
  }

  assert {
    condition     = alltrue([for it in aws_launch_template.instance.metadata_options : it.http_tokens == "required" && it.http_put_response_hop_limit == 1])
    error_message = "IMDSv2 is not required with one hop."
  }

  assert {
    condition     = alltrue([for it in aws_launch_template.instance.block_device_mappings[0].ebs : it.encrypted == "true" && it.volume_type == "gp3" && it.volume_size == 100 && it.delete_on_termination == "true"])
    error_message = "The disk is not an encrypted gp3 of 100 GB that goes with the instance."
  }

  assert {
    condition     = toset(aws_launch_template.instance.tag_specifications[*].resource_type) == toset(["instance", "volume", "network-interface", "spot-instances-request"])
    error_message = "Something that is launched is not tagged."
  }

  assert {
    condition     = aws_launch_template.instance.image_id == "ami-0a1b2c3d4e5f607" && aws_launch_template.instance.key_name == null
    error_message = "The image is not the public parameter's, or a key pair is set unasked."
  }

  assert {
    condition     = local.user_data_bytes < 16384 && startswith(local.user_data, "#cloud-config\n")
    error_message = "The user_data is too large or no cloud-config."
  }
}

run "trains_on_a_cpu_when_told_and_ends_from_outside_an_hour_after_its_limit" {
  command = plan

  variables {
    accelerator = "cpu"
    volume_gb   = 20
    max_hours   = 5
  }

  assert {
    condition     = data.aws_ssm_parameter.ami[0].name == "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    error_message = "The image is not plain Ubuntu."
  }

  assert {
    condition     = local.run.device == "cpu" && !anytrue([for name in local.instance_types : startswith(name, "g")])
    error_message = "It would still take a GPU."
  }

  assert {
    condition     = timecmp(aws_autoscaling_schedule.max_hours.start_time, timeadd(plantimestamp(), "5h")) > 0 && timecmp(aws_autoscaling_schedule.max_hours.start_time, timeadd(plantimestamp(), "7h")) < 0
    error_message = "The scheduled end is not an hour after max_hours."
  }

  assert {
    condition     = local.instance.guard_usd_per_hour > 0.192 && local.instance.guard_usd_per_hour < 0.21 && local.instance.schedule == aws_autoscaling_schedule.max_hours.scheduled_action_name
    error_message = "The instance cannot move the guard outside, or does not reckon with the dearest type's price on demand."
  }

  assert {
    condition     = local.instance.max_hours == 5
    error_message = "The instance does not know its limit."
  }

  assert {
    condition     = aws_ssm_parameter.limits.insecure_value == "{\"budget_usd\":20,\"idle_minutes\":30,\"max_hours\":5}" && aws_ssm_parameter.limits.name == local.instance.limits_parameter
    error_message = "A running instance does not find its limits."
  }

  assert {
    condition     = alltrue([for it in aws_launch_template.instance.tag_specifications : it.tags.Run == "run-1" && length(it.tags.RunSettings) == 16])
    error_message = "An instance does not say which run it works for."
  }
}

run "refuses_another_run_while_an_instance_works" {
  command         = plan
  expect_failures = [aws_launch_template.instance]

  override_data {
    target = data.aws_instances.present
    values = { ids = ["i-0123456789abcdef0"] }
  }
}

run "ends_from_outside_when_the_budget_must_be_spent" {
  command = plan

  assert {
    condition     = local.guard_minutes / 60 * local.guard_usd <= 20 && local.guard_minutes / 60 * local.guard_usd > 19.9
    error_message = "The scheduled end is not when the dearest type has cost the budget."
  }

  assert {
    condition     = timecmp(aws_autoscaling_schedule.max_hours.start_time, timeadd(plantimestamp(), "15h")) > 0 && timecmp(aws_autoscaling_schedule.max_hours.start_time, timeadd(plantimestamp(), "17h")) < 0
    error_message = "The scheduled end is not that time."
  }
}

run "assumes_a_high_price_for_a_type_that_is_not_listed_and_leaves_time_to_say_why_it_ends" {
  command = plan

  variables {
    instance_types = ["g5.xlarge", "g7.xlarge"]
    budget_usd     = 5
  }

  assert {
    condition     = local.guard_usd > local.prices.unlisted_usd_per_hour && local.guard_minutes == 30
    error_message = "The guard outside reckons with too low a price, or leaves no time."
  }
}

run "believes_the_users_own_limit_of_the_price" {
  command = plan

  variables {
    instance_types = ["g5.xlarge", "g7.xlarge"]
    max_spot_price = 0.5
  }

  assert {
    condition     = local.guard_usd > 0.5 && local.guard_usd < 0.52 && local.guard_minutes > 38 * 60
    error_message = "The guard outside does not reckon with max_spot_price."
  }
}

run "takes_what_the_user_names" {
  command = plan

  variables {
    ami_id         = "ami-0123456789abcdef0"
    instance_types = ["g5.xlarge"]
    max_spot_price = 0.25
  }

  assert {
    condition     = aws_launch_template.instance.image_id == "ami-0123456789abcdef0" && length(data.aws_ssm_parameter.ami) == 0
    error_message = "The image is not the pinned one."
  }

  assert {
    condition     = aws_autoscaling_group.instance.mixed_instances_policy[0].instances_distribution[0].spot_max_price == "0.25" && local.fallback_price == 0.25
    error_message = "The highest price is not respected."
  }
}
