# Who reaches the instance, and what the instance reaches.
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
  home_cidrs = ["8.8.8.8/32", "9.9.9.0/24"]
}

run "opens_the_bridge_port_to_home_and_nothing_else" {
  command = plan

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.home : "${rule.cidr_ipv4} ${rule.from_port}-${rule.to_port}"]) == toset(["8.8.8.8/32 8765-8765", "9.9.9.0/24 8765-8765", "8.8.8.8/32 8766-8766", "9.9.9.0/24 8766-8766"])
    error_message = "Something else than ports 8765 and 8766 from home_cidrs is open."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_egress_rule.web : rule.to_port]) == toset([80, 443])
    error_message = "The instance reaches other ports than the web's."
  }

  assert {
    condition     = length(aws_subnet.public) == 3 && alltrue([for subnet in aws_subnet.public : subnet.map_public_ip_on_launch])
    error_message = "There is not a public subnet in each zone."
  }

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && aws_vpc_endpoint.s3.service_name == "com.amazonaws.us-east-1.s3"
    error_message = "The way to S3 costs money."
  }

  assert {
    condition     = length(aws_eip.endpoint) == 1 && local.run.public_host == "198.51.100.4"
    error_message = "There is no fixed address, or the run does not know it."
  }
}

run "opens_ssh_only_with_a_key_pair_and_tensorboard_only_when_asked" {
  command = plan

  variables {
    home_cidrs            = ["8.8.8.8/32"]
    key_pair_name         = "my-key"
    tensorboard_port_open = true
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.home : rule.from_port]) == toset([22, 6006, 8765, 8766])
    error_message = "The open ports are not 22, 6006, 8765 and 8766."
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.home : rule.cidr_ipv4 == "8.8.8.8/32"])
    error_message = "A port is open to others than home."
  }

  assert {
    condition     = local.instance.dashboard_host == "0.0.0.0" && output.dashboard_tunnel_command == null
    error_message = "The dashboard does not listen where its port is open."
  }

  assert {
    condition     = local.instance.tensorboard_host == "0.0.0.0" && output.tensorboard_url == "http://198.51.100.4:6006" && output.tensorboard_command == null
    error_message = "TensorBoard does not listen where its port is open."
  }

  assert {
    condition     = output.ssh_command == "ssh ubuntu@198.51.100.4"
    error_message = "The SSH command does not name the address."
  }
}

run "has_no_fixed_address_when_it_is_published_instead" {
  command = plan

  variables {
    endpoint_mode = "ssm"
  }

  assert {
    condition     = length(aws_eip.endpoint) == 0 && !contains(keys(local.run), "public_host")
    error_message = "There is a fixed address in endpoint_mode ssm."
  }

  assert {
    condition     = output.bridge_endpoint == null && output.stopped_monthly_cost_usd == 0
    error_message = "The outputs tell of a fixed address."
  }

  assert {
    condition     = strcontains(local.boot_env, "AC_ALLOCATION=''\n")
    error_message = "The boot would claim an address."
  }
}

run "keeps_the_dashboard_to_itself_when_asked" {
  command = plan

  variables {
    dashboard_port_open = false
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.home : rule.from_port]) == toset([8765])
    error_message = "The dashboard's port is open all the same."
  }

  assert {
    condition     = local.instance.dashboard_host == "127.0.0.1" && strcontains(output.dashboard_tunnel_command, "portNumber=8766")
    error_message = "The dashboard listens to others, or no tunnel leads to it."
  }
}

run "has_nothing_of_ipv6_unless_it_is_asked_for" {
  command = plan

  assert {
    condition     = aws_vpc.main.assign_generated_ipv6_cidr_block != true && length(aws_route.internet_ipv6) == 0 && length(aws_vpc_security_group_egress_rule.web_ipv6) == 0
    error_message = "There is IPv6 that nobody asked for."
  }

  assert {
    condition     = !contains(keys(local.run), "listen_host") && !contains(keys(local.instance), "published_address") && local.instance.dashboard_host == "0.0.0.0"
    error_message = "The instance is told of IPv6."
  }
}

run "opens_to_ipv6_beside_ipv4" {
  command = plan

  variables {
    home_cidrs = ["8.8.8.8/32", "2a02:8100:12:3400::/56"]
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.home : rule.cidr_ipv6 if rule.cidr_ipv4 == null]) == toset(["2a02:8100:12:3400::/56"]) && length(aws_vpc_security_group_ingress_rule.home) == 4
    error_message = "Not both kinds of networks reach the ports."
  }

  assert {
    condition     = toset([for subnet in aws_subnet.public : subnet.ipv6_cidr_block]) == toset(["2600:1f18:aaaa:bb00::/64", "2600:1f18:aaaa:bb01::/64", "2600:1f18:aaaa:bb02::/64"]) && alltrue([for subnet in aws_subnet.public : subnet.assign_ipv6_address_on_creation])
    error_message = "The subnets give no IPv6 addresses."
  }

  assert {
    condition     = aws_route.internet_ipv6[0].destination_ipv6_cidr_block == "::/0" && toset([for rule in aws_vpc_security_group_egress_rule.web_ipv6 : rule.to_port]) == toset([80, 443])
    error_message = "The instance has an IPv6 address, which it tries first, and no way out with it."
  }

  assert {
    condition     = local.run.listen_host == "::" && local.instance.dashboard_host == "::" && local.run.public_host == "198.51.100.4" && !contains(keys(local.instance), "published_address")
    error_message = "Receiver and dashboard do not serve both, at the fixed address."
  }
}

run "publishes_the_ipv6_address_where_home_has_no_other" {
  command = plan

  variables {
    home_cidrs    = ["2a02:8100:12:3400::/56"]
    endpoint_mode = "ssm"
  }

  assert {
    condition     = local.instance.published_address == "ipv6" && local.run.listen_host == "::"
    error_message = "The instance would publish an address that nobody there can dial."
  }
}

run "changes_no_zone_unless_it_is_named" {
  command = plan

  variables {
    domain_name = "racing.example.org"
  }

  assert {
    condition     = length(aws_route53_record.endpoint) == 0 && length(aws_ssm_parameter.certificate) == 0 && !contains(keys(local.instance), "route53_zone_id")
    error_message = "A zone is changed that nobody named."
  }

  assert {
    condition     = !strcontains(jsonencode(data.aws_iam_policy_document.instance.statement), "route53:")
    error_message = "The instance may change a zone that nobody named."
  }
}

run "points_the_name_and_lets_the_instance_prove_it_and_nothing_else" {
  command = plan

  variables {
    domain_name     = "racing.example.org"
    route53_zone_id = "Z0123456789ABCDEFGHIJ"
  }

  assert {
    condition     = aws_route53_record.endpoint[0].name == "racing.example.org" && aws_route53_record.endpoint[0].records == toset(["198.51.100.4"]) && aws_route53_record.endpoint[0].type == "A"
    error_message = "The name does not lead to the address."
  }

  assert {
    condition     = local.run.public_host == "racing.example.org" && local.instance.certificate_parameter == "/ac-training/certificate" && local.instance.route53_zone_id == "Z0123456789ABCDEFGHIJ"
    error_message = "The instance is not told of its name's certificate."
  }

  assert {
    condition = toset(flatten([
      for one in data.aws_iam_policy_document.instance.statement : [
        join(",", one.actions), one.resources, [for limit in one.condition : "${limit.test} ${limit.variable} ${join(",", limit.values)}"]
      ] if anytrue([for action in one.actions : startswith(action, "route53:Change")])
      ])) == toset([
      "route53:ChangeResourceRecordSets",
      "arn:aws:route53:::hostedzone/Z0123456789ABCDEFGHIJ",
      "ForAllValues:StringEquals route53:ChangeResourceRecordSetsNormalizedRecordNames _acme-challenge.racing.example.org",
      "ForAllValues:StringEquals route53:ChangeResourceRecordSetsRecordTypes TXT",
    ])
    error_message = "The instance may change more of the zone than the one record."
  }
}

run "refuses_a_zone_that_the_name_is_not_in" {
  command         = plan
  expect_failures = [aws_route53_record.endpoint]

  variables {
    domain_name     = "racing.example.com"
    route53_zone_id = "Z0123456789ABCDEFGHIJ"
  }
}

run "refuses_a_zone_without_a_name" {
  command = plan
  expect_failures = [
    var.route53_zone_id,
  ]

  variables {
    route53_zone_id = "Z0123456789ABCDEFGHIJ"
  }
}

run "refuses_what_is_no_zone" {
  command = plan
  expect_failures = [
    var.route53_zone_id,
  ]

  variables {
    domain_name     = "racing.example.org"
    route53_zone_id = "example.org"
  }
}
