# A network of its own with a public subnet in each zone: spot capacity is taken wherever it is cheap and stays longest.
data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394:A zone that AWS adds is welcome: one more place to find spot capacity
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  zones = sort(data.aws_availability_zones.available.names)

  # Only where it is asked for: with null AWS has nothing of it, and a plan without it says nothing of it.
  ipv6 = anytrue([for cidr in var.home_cidrs : strcontains(cidr, ":")]) ? true : null
  # IPv4 first, since the fixed address is one; who has no other is told the instance's IPv6 address.
  only_ipv6 = alltrue([for cidr in var.home_cidrs : strcontains(cidr, ":")])
  any_host  = local.ipv6 == true ? "::" : "0.0.0.0"
}

resource "aws_vpc" "main" {
  #checkov:skip=CKV2_AWS_11:Flow logs cost more than they tell about one instance with one open port
  cidr_block           = "10.37.0.0/16"
  enable_dns_support   = true
  enable_dns_hostnames = true

  assign_generated_ipv6_cidr_block = local.ipv6

  tags = { Name = local.name }

  # Gone last, so that a destroy that breaks off is one of the same place when it goes on.
  depends_on = [terraform_data.place]
}

# Closed, so that nothing that lands in it by accident can be reached.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.main.id

  tags = { Name = "${local.name}-closed" }
}

resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id

  tags = { Name = local.name }
}

resource "aws_subnet" "public" {
  #checkov:skip=CKV_AWS_130:The instance needs a public address to call AWS before it claims its own, and a NAT gateway costs 33 US dollars a month
  for_each = { for index, zone in local.zones : zone => index }

  vpc_id                  = aws_vpc.main.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(aws_vpc.main.cidr_block, 8, each.value)
  map_public_ip_on_launch = true

  ipv6_cidr_block                 = local.ipv6 == true ? cidrsubnet(aws_vpc.main.ipv6_cidr_block, 8, each.value) : null
  assign_ipv6_address_on_creation = local.ipv6

  tags = { Name = "${local.name}-${each.key}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.main.id

  tags = { Name = local.name }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.main.id
}

resource "aws_route" "internet_ipv6" {
  count = local.ipv6 == true ? 1 : 0

  route_table_id              = aws_route_table.public.id
  destination_ipv6_cidr_block = "::/0"
  gateway_id                  = aws_internet_gateway.main.id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public.id
}

# Free, and the way to the bucket stays inside AWS.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.main.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public.id]

  tags = { Name = "${local.name}-s3" }
}

locals {
  open_ports = merge(
    { bridge = local.listen_port },
    var.key_pair_name == null ? {} : { ssh = 22 },
    var.dashboard_port_open ? { dashboard = local.dashboard_port } : {},
    var.tensorboard_port_open ? { tensorboard = local.tensorboard_port } : {},
  )
  ingress = {
    for pair in setproduct(keys(local.open_ports), var.home_cidrs) :
    "${pair[0]} from ${pair[1]}" => { port = local.open_ports[pair[0]], cidr = pair[1] }
  }
}

resource "aws_security_group" "instance" {
  name        = local.name
  description = "Bridges dial in from home only"
  vpc_id      = aws_vpc.main.id

  tags = { Name = local.name }
}

resource "aws_vpc_security_group_ingress_rule" "home" {
  for_each = local.ingress

  security_group_id = aws_security_group.instance.id
  description       = each.key
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = strcontains(each.value.cidr, ":") ? null : each.value.cidr
  cidr_ipv6         = strcontains(each.value.cidr, ":") ? each.value.cidr : null
}

# AWS's own interfaces, PyPI and W&B speak 443; Ubuntu's package archive speaks 80 and signs its packages.
resource "aws_vpc_security_group_egress_rule" "web" {
  for_each = { http = 80, https = 443 }

  security_group_id = aws_security_group.instance.id
  description       = "${each.key} to anywhere"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  cidr_ipv4         = "0.0.0.0/0"
}

# Who has an IPv6 address tries it first.
resource "aws_vpc_security_group_egress_rule" "web_ipv6" {
  for_each = { for name, port in { http = 80, https = 443 } : name => port if local.ipv6 == true }

  security_group_id = aws_security_group.instance.id
  description       = "${each.key} to anywhere by IPv6"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
  cidr_ipv6         = "::/0"
}

# The name of the address; the instance proves to the authority that it is ours, by a record beside it.
data "aws_route53_zone" "named" {
  count = var.route53_zone_id == null ? 0 : 1

  zone_id = var.route53_zone_id
}

resource "aws_route53_record" "endpoint" {
  count = var.route53_zone_id == null ? 0 : 1

  zone_id = var.route53_zone_id
  name    = var.domain_name
  type    = "A"
  ttl     = 60
  records = [aws_eip.endpoint[0].public_ip]

  lifecycle {
    precondition {
      condition     = endswith(".${var.domain_name}", ".${trimsuffix(data.aws_route53_zone.named[0].name, ".")}") && data.aws_route53_zone.named[0].private_zone != true
      error_message = "route53_zone_id is ${data.aws_route53_zone.named[0].private_zone == true ? "a private zone" : "the zone"} ${data.aws_route53_zone.named[0].name}, in which the internet finds no ${var.domain_name}. Name the public zone that this domain_name lies in; Route 53's console lists both."
    }
  }
}

# The address that bridges keep; each instance claims it first thing at boot.
resource "aws_eip" "endpoint" {
  #checkov:skip=CKV2_AWS_19:The instance claims it at boot; Terraform never sees that instance
  count = var.endpoint_mode == "eip" ? 1 : 0

  domain = "vpc"

  tags = { Name = local.name }

  lifecycle {
    precondition {
      condition     = !local.only_ipv6
      error_message = "home_cidrs has IPv6 networks alone, but the fixed address is one of IPv4. Add your IPv4 address, or set endpoint_mode = \"ssm\": each instance then publishes its own IPv6 address, which `make pair` looks up."
    }
  }

  depends_on = [terraform_data.place]
}
