# What AWS would answer, as far as the configuration looks at it.
# No account's number: secrets.tf draws no token then.
mock_data "aws_caller_identity" {
  defaults = { account_id = "mocked" }
}

mock_data "aws_partition" {
  defaults = { partition = "aws" }
}

mock_data "aws_availability_zones" {
  defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
}

mock_data "aws_iam_policy_document" {
  defaults = { json = "{}" }
}

mock_data "aws_ssm_parameter" {
  defaults = { insecure_value = "ami-0a1b2c3d4e5f607" }
}

# All that these tests name exists, and serves for everything.
mock_data "aws_ec2_instance_types" {
  defaults = {
    instance_types = [
      "c6a.xlarge", "c6i.xlarge", "c7i.xlarge", "g4dn.2xlarge", "g4dn.xlarge", "g5.2xlarge", "g5.xlarge", "g6.2xlarge",
      "g6.xlarge", "g6e.48xlarge", "g7.xlarge", "m6i.xlarge",
    ]
  }
}

mock_data "aws_ec2_instance_type" {
  defaults = {
    gpus                     = [{ count = 1, manufacturer = "NVIDIA", memory_size = 16384, name = "T4" }]
    supported_architectures  = ["x86_64"]
    supported_usages_classes = ["on-demand", "spot"]
  }
}

# No instance runs.
mock_data "aws_instances" {
  defaults = { ids = [] }
}

mock_resource "aws_eip" {
  override_during = plan
  defaults = {
    public_ip     = "198.51.100.4"
    allocation_id = "eipalloc-0123456789abcdef0"
    arn           = "arn:aws:ec2:us-east-1:123456789012:elastic-ip/eipalloc-0123456789abcdef0"
  }
}

mock_resource "aws_vpc" {
  override_during = plan
  defaults        = { ipv6_cidr_block = "2600:1f18:aaaa:bb00::/56" }
}

mock_data "aws_route53_zone" {
  defaults = {
    name         = "example.org"
    private_zone = false
  }
}
