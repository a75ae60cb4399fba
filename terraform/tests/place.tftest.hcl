# What is refused because of what AWS has: types that cannot serve, a deployment that the state does not hold or holds elsewhere.
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

run "refuses_a_type_that_the_region_does_not_have" {
  command         = plan
  expect_failures = [data.aws_ec2_instance_types.named]

  variables {
    instance_types = ["g5.xlarge", "g99.xlarge"]
  }
}

run "refuses_a_type_without_a_gpu" {
  command         = plan
  expect_failures = [data.aws_ec2_instance_type.named]

  override_data {
    target = data.aws_ec2_instance_type.named
    values = {
      gpus                     = []
      supported_architectures  = ["x86_64"]
      supported_usages_classes = ["on-demand", "spot"]
    }
  }
}

run "refuses_a_gpu_that_is_not_of_nvidia" {
  command         = plan
  expect_failures = [data.aws_ec2_instance_type.named]

  override_data {
    target = data.aws_ec2_instance_type.named
    values = {
      gpus                     = [{ count = 1, manufacturer = "AMD", memory_size = 8192, name = "Radeon Pro V520" }]
      supported_architectures  = ["x86_64"]
      supported_usages_classes = ["on-demand", "spot"]
    }
  }
}

run "takes_a_type_without_a_gpu_when_none_is_asked_for" {
  command = plan

  variables {
    accelerator = "cpu"
  }

  override_data {
    target = data.aws_ec2_instance_type.named
    values = {
      gpus                     = []
      supported_architectures  = ["x86_64"]
      supported_usages_classes = ["on-demand", "spot"]
    }
  }
}

run "refuses_a_processor_that_the_image_does_not_fit" {
  command         = plan
  expect_failures = [data.aws_ec2_instance_type.named]

  variables {
    accelerator = "cpu"
  }

  override_data {
    target = data.aws_ec2_instance_type.named
    values = {
      gpus                     = []
      supported_architectures  = ["arm64"]
      supported_usages_classes = ["on-demand", "spot"]
    }
  }
}

run "refuses_a_type_that_is_never_spot" {
  command         = plan
  expect_failures = [data.aws_ec2_instance_type.named]

  override_data {
    target = data.aws_ec2_instance_type.named
    values = {
      gpus                     = [{ count = 1, manufacturer = "NVIDIA", memory_size = 16384, name = "T4" }]
      supported_architectures  = ["x86_64"]
      supported_usages_classes = ["on-demand"]
    }
  }
}

run "refuses_to_make_everything_a_second_time" {
  command = plan
  expect_failures = [
    var.guard_place,
  ]

  override_data {
    target = data.aws_iam_roles.named
    values = { names = ["ac-training"] }
  }
}

run "makes_it_beside_what_it_finds_when_told" {
  command = plan

  variables {
    guard_place = false
  }

  override_data {
    target = data.aws_iam_roles.named
    values = { names = ["ac-training"] }
  }
}

run "is_made" {
  command = apply

  plan_options {
    target = [terraform_data.place]
  }

  variables {
    wandb_key = "0123456789abcdef0123456789abcdef01234567"
  }
}

run "refuses_another_region_than_that_of_the_state" {
  command = plan
  expect_failures = [
    var.guard_place,
  ]

  variables {
    region = "eu-central-1"
  }
}
