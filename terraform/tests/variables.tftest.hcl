# Every wrong value is refused before anything is made. A run takes seconds, so that one holds wrong values of
# many variables; each of them must fail, and no other may.
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

run "refuses_the_first_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.region,
    var.project_name,
    var.home_cidrs,
    var.accelerator,
    var.instance_types,
    var.max_spot_price,
    var.ami_id,
    var.key_pair_name,
    var.endpoint_mode,
    var.run_id,
    var.training,
    var.budget_usd,
    var.alert_email,
    var.max_hours,
    var.idle_minutes,
    var.max_launches,
    var.wandb,
    var.wandb_key,
  ]

  variables {
    # a zone is no region
    region = "us-east-1a"
    # capital letters
    project_name = "Racing"
    # no home
    home_cidrs = []
    # an unknown accelerator
    accelerator = "tpu"
    # no type
    instance_types = []
    # a price of nothing
    max_spot_price = 0
    # a name for an image id
    ami_id = "ubuntu-24.04"
    # an empty key pair name
    key_pair_name = ""
    # an unknown endpoint mode
    endpoint_mode = "dns"
    # a path for a run
    run_id = "monza/1"
    # an unknown method
    training = { method = "dreamer" }
    # a budget of nothing
    budget_usd = 0
    # a name for an address
    alert_email = "me"
    # a year and a day
    max_hours = 8784
    # less patience than a boot takes
    idle_minutes = 1
    # no launch
    max_launches = 0
    # an empty project
    wandb = { project = "" }
    # a key with quotes
    wandb_key = "'0123456789abcdef0123456789abcdef01234567'"
  }
}

run "refuses_the_second_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.domain_name,
    var.region,
    var.project_name,
    var.home_cidrs,
    var.instance_types,
    var.max_spot_price,
    var.volume_gb,
    var.training,
    var.max_hours,
    var.max_launches,
    var.wandb,
  ]

  variables {
    # a URL for a name
    domain_name = "https://racing.example.org"
    # an empty region
    region = ""
    # a name that parameters may not have
    project_name = "aws-racing"
    # the whole internet
    home_cidrs = ["0.0.0.0/0"]
    # a family is no type
    instance_types = ["g5"]
    # cents for dollars
    max_spot_price = 300
    # a fraction of a gigabyte
    volume_gb = 100.5
    # an unknown device
    training = { device = "gpu" }
    # no hours
    max_hours = 0
    # half a launch
    max_launches = 1.5
    # a URL for a project
    wandb = { project = "https://wandb.ai/x" }
  }
}

run "refuses_the_third_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.project_name,
    var.home_cidrs,
    var.instance_types,
    var.volume_gb,
    var.training,
    var.wandb,
  ]

  variables {
    # too long a name
    project_name = "a23456789012345678901234567890123"
    # half the internet
    home_cidrs = ["0.0.0.0/1", "128.0.0.0/1"]
    # a type twice
    instance_types = ["g5.xlarge", "g5.xlarge"]
    # a disk that is too large
    volume_gb = 20000
    # an unknown target entropy
    training = { target_entropy = "high" }
    # a version of nothing
    wandb = { project = "x", key_version = 0 }
  }
}

run "refuses_the_fourth_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.volume_gb,
    var.home_cidrs,
    var.training,
    var.domain_name,
  ]

  variables {
    # a disk smaller than the image
    volume_gb = 50
    # the whole internet in IPv6
    home_cidrs = ["::/0"]
    # a rate of nothing
    training = { learning_rate = 0 }
    # a name without a fixed address
    domain_name   = "racing.example.org"
    endpoint_mode = "ssm"
  }
}

run "refuses_the_fifth_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.home_cidrs,
    var.training,
    var.wandb,
  ]

  variables {
    # an address without a length
    home_cidrs = ["8.8.8.8"]
    # half a step
    training = { save_frequency = 0.5 }
    # a misspelt entity
    wandb = { project = "x", entitiy = "me" }
  }
}

run "refuses_the_sixth_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.home_cidrs,
    var.training,
    var.wandb,
  ]

  variables {
    # an address within a network
    home_cidrs = ["8.8.8.8/24"]
    # a name for all of W&B
    wandb = "ac-training"
    # a task faster than the game
    training = { task = { control_hz = 333 } }
  }
}

run "refuses_the_seventh_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.region,
    var.project_name,
    var.home_cidrs,
    var.training,
  ]

  variables {
    # a region that is none
    region = "eu-central-9"
    # shorter than a launch template's name may be
    project_name = "ac"
    # an example from a text
    home_cidrs = ["8.8.8.8/32", "203.0.113.7/32"]
    # a network without layers
    training = { network = [] }
  }
}

run "refuses_the_eighth_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.project_name,
    var.home_cidrs,
    var.training,
  ]

  variables {
    # a name that no security group may have
    project_name = "sg-racing"
    # a home's own network
    home_cidrs = ["192.168.1.20/32"]
    # a layer without units
    training = { critic_network = [256, 0] }
  }
}

run "refuses_the_ninth_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.home_cidrs,
    var.training,
  ]

  variables {
    # a provider's network behind one address
    home_cidrs = ["100.64.0.0/10"]
    # a run that ends before it learns
    training = { total_timesteps = 500 }
  }
}

run "refuses_the_tenth_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.home_cidrs,
    var.training,
  ]

  variables {
    # this machine
    home_cidrs = ["127.0.0.1/32"]
    # a setting that no run has
    training = { batchsize = 256 }
  }
}

run "refuses_the_eleventh_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.home_cidrs,
    var.training,
  ]

  variables {
    # a private network
    home_cidrs = ["10.1.0.0/16"]
    # a setting that no task has
    training = { task = { control_herz = 25 } }
  }
}

run "refuses_the_twelfth_wrong_value_of_each" {
  command = plan
  expect_failures = [
    var.home_cidrs,
    var.training,
  ]

  variables {
    # another private one
    home_cidrs = ["172.31.255.255/32"]
    # a method for all settings
    training = "sac"
  }
}

run "takes_everything_at_once" {
  command = plan

  variables {
    region                = "eu-central-1"
    project_name          = "racing-2"
    home_cidrs            = ["8.8.8.8/32", "9.9.9.0/24", "100.63.255.0/24", "172.32.0.0/16"]
    instance_types        = ["g5.xlarge", "g6e.48xlarge"]
    max_spot_price        = 0.6
    volume_gb             = 75
    ami_id                = "ami-0123456789abcdef0"
    key_pair_name         = "my key"
    domain_name           = "racing.example.org"
    run_id                = "monza-1"
    training              = { method = "tqc", learning_rate = 1, target_entropy = -2.5, network = [400, 300], task = { control_hz = "60", progress_scale = null }, seed = null }
    budget_usd            = 0.5
    alert_email           = "you+racing@example.org"
    max_hours             = 0.5
    idle_minutes          = 5
    max_launches          = 1
    wandb                 = { project = "ac-training", entity = "me" }
    wandb_key             = "0123456789abcdef0123456789abcdef01234567"
    cloudwatch_logs       = true
    tensorboard_port_open = true
  }

  assert {
    condition     = local.run.target_entropy == -2.5 && local.run.device == "cuda" && local.run.public_host == "racing.example.org"
    error_message = "The settings do not reach run.json."
  }

  assert {
    condition     = jsonencode(local.run.task) == "{\"control_hz\":60}" && !contains(keys(local.run), "seed") && local.run.total_timesteps == local.settings.total_timesteps.default
    error_message = "What is left out or null does not keep its default, or a number is still text."
  }
}

run "refuses_the_first_wrong_ipv6_network" {
  command         = plan
  expect_failures = [var.home_cidrs]

  variables {
    # a large part of the internet in IPv6
    home_cidrs = ["8.8.8.8/32", "2600::/16"]
  }
}

run "refuses_the_second_wrong_ipv6_network" {
  command         = plan
  expect_failures = [var.home_cidrs]

  variables {
    # an example of a text
    home_cidrs = ["8.8.8.8/32", "2001:db8:1::/64"]
  }
}

run "refuses_the_third_wrong_ipv6_network" {
  command         = plan
  expect_failures = [var.home_cidrs]

  variables {
    # a home's own IPv6 addresses
    home_cidrs = ["8.8.8.8/32", "fd00:1:2:3::/64"]
  }
}

run "refuses_the_fourth_wrong_ipv6_network" {
  command         = plan
  expect_failures = [var.home_cidrs]

  variables {
    # IPv6 in upper case
    home_cidrs = ["8.8.8.8/32", "2A02:8100::/48"]
  }
}

run "refuses_ipv6_alone_at_a_fixed_address" {
  command         = plan
  expect_failures = [aws_eip.endpoint]

  variables {
    home_cidrs = ["2a02:8100:12:3400::/56"]
  }
}
