# Where this deployment is. Terraform itself would lose sight of it: asked in another region or account it finds nothing,
# forgets all that it made there, and leaves it running; without its state file it makes everything a second time.
locals {
  # Those that the provider's version knows; it refuses any other.
  regions = [
    "af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
    "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ap-southeast-7",
    "ca-central-1", "ca-west-1", "cn-north-1", "cn-northwest-1", "eu-central-1", "eu-central-2", "eu-north-1",
    "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3", "il-central-1", "me-central-1", "me-south-1",
    "mx-central-1", "sa-east-1", "us-east-1", "us-east-2", "us-gov-east-1", "us-gov-west-1", "us-west-1", "us-west-2",
  ]

  # Networks that no packet from the internet comes from (IANA's registry of special-purpose addresses, multicast).
  not_public = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
  ]
}

# What a deployment of this name has that no other may have, or that costs by the hour. Roles are of all regions.
data "aws_iam_roles" "named" {
  name_regex = "^${local.name}$"
}

data "aws_autoscaling_groups" "tagged" {
  dynamic "filter" {
    for_each = local.tags

    content {
      name   = "tag:${filter.key}"
      values = [filter.value]
    }
  }
}

data "aws_eips" "tagged" {
  tags = local.tags
}

# What was so when this deployment began: the first apply writes it, no later one changes it, and guard_place compares.
resource "terraform_data" "place" {
  input = {
    region  = var.region
    account = local.account_id
    strange = concat(
      [for name in data.aws_iam_roles.named.names : "the role ${name}"],
      [for name in data.aws_autoscaling_groups.tagged.names : "the group ${name} in ${var.region}"],
      [for id in data.aws_eips.tagged.allocation_ids : "the address ${id} in ${var.region}"],
    )
  }

  lifecycle {
    ignore_changes = [input]
  }
}

# What may be launched, asked before anything is made: AWS itself says so only when the group launches.
data "aws_ec2_instance_types" "named" {
  filter {
    name   = "instance-type"
    values = local.instance_types
  }

  lifecycle {
    postcondition {
      condition     = length(setsubtract(local.instance_types, self.instance_types)) == 0
      error_message = "instance_types names what AWS does not have in ${var.region}: ${join(", ", setsubtract(local.instance_types, self.instance_types))}. Write types that it has there, as `aws ec2 describe-instance-types --region ${var.region}` lists them, or leave instance_types out."
    }
  }
}

data "aws_ec2_instance_type" "named" {
  for_each = toset(data.aws_ec2_instance_types.named.instance_types)

  instance_type = each.key

  lifecycle {
    postcondition {
      condition     = contains(self.supported_architectures, "x86_64")
      error_message = "instance_types names ${each.key}, whose processor is ${join(", ", self.supported_architectures)}; the image and the pinned packages are for x86_64. Write a type with an Intel or AMD processor (one without a \"g\" after the generation: c7i, not c7g; g5, not g5g)."
    }

    postcondition {
      condition     = var.accelerator != "gpu" || anytrue([for gpu in self.gpus : gpu.manufacturer == "NVIDIA"])
      error_message = "instance_types names ${each.key}, which has ${length(self.gpus) == 0 ? "no GPU" : "a GPU of ${join(", ", distinct([for gpu in self.gpus : gpu.manufacturer]))}"}, and accelerator = \"gpu\" needs one of NVIDIA. Write types such as ${join(", ", local.default_instance_types.gpu)}, or set accelerator = \"cpu\"."
    }

    postcondition {
      condition     = contains(self.supported_usages_classes, "spot")
      error_message = "instance_types names ${each.key}, which AWS does not offer as a spot instance. Write another type."
    }
  }
}
