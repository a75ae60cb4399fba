data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name = var.project_name
  tags = {
    Project   = var.project_name
    ManagedBy = "terraform"
  }

  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  # Names are built here, not read from the resources: the role's policy exists before what it permits.
  group_name            = local.name
  schedule_name         = "${local.name}-max-hours"
  bucket_name           = "${local.name}-${local.account_id}-${var.region}"
  parameter_prefix      = "/${local.name}"
  token_parameter       = "${local.parameter_prefix}/token"
  dashboard_parameter   = "${local.parameter_prefix}/dashboard"
  tls_parameter         = "${local.parameter_prefix}/tls"
  endpoint_parameter    = "${local.parameter_prefix}/endpoint"
  limits_parameter      = "${local.parameter_prefix}/limits"
  certificate_parameter = var.route53_zone_id == null ? null : "${local.parameter_prefix}/certificate"
  wandb_parameter       = var.wandb == null ? null : "${local.parameter_prefix}/wandb"
  log_group_name        = var.cloudwatch_logs ? "/${local.name}" : null

  listen_port      = 8765
  dashboard_port   = 8766
  tensorboard_port = 6006

  default_instance_types = {
    gpu = ["g4dn.xlarge", "g5.xlarge", "g6.xlarge", "g4dn.2xlarge", "g5.2xlarge", "g6.2xlarge"]
    cpu = ["c7i.xlarge", "c6i.xlarge", "c6a.xlarge", "m6i.xlarge"]
  }
  instance_types = var.instance_types == null ? local.default_instance_types[var.accelerator] : var.instance_types
}

# What an hour costs, for orientation and for the instance's count where AWS tells no price.
locals {
  prices           = jsondecode(file("${path.module}/prices.json"))
  spot_prices      = [for name in local.instance_types : try(local.prices.instance_types[name].spot_usd_per_hour, null)]
  known_prices     = [for price in local.spot_prices : price if price != null]
  all_prices_known = length(local.known_prices) == length(local.instance_types)
  dearest_listed   = max([for entry in values(local.prices.instance_types) : entry.on_demand_usd_per_hour]...)

  # With an unlisted type the highest price that may be asked is assumed: a count that is too high ends early, never late.
  assumed_price  = local.all_prices_known ? max(local.known_prices...) : coalesce(var.max_spot_price, local.dearest_listed)
  fallback_price = min(local.assumed_price, coalesce(var.max_spot_price, local.assumed_price))

  # By what the guard outside reckons: spot never costs more than on demand, nor than max_spot_price.
  listed_price  = max([for name in local.instance_types : try(local.prices.instance_types[name].on_demand_usd_per_hour, local.prices.unlisted_usd_per_hour)]...)
  guard_usd     = tonumber(format("%.5f", min(local.listed_price, coalesce(var.max_spot_price, local.listed_price)) + local.hourly_extra_usd))
  guard_minutes = floor(60 * min(var.max_hours + 1, max(0.5, var.budget_usd / local.guard_usd)))

  address_usd       = local.prices.public_ipv4_usd_per_hour
  hourly_extra_usd  = tonumber(format("%.5f", local.address_usd + var.volume_gb * local.prices.gp3_usd_per_gb_month / local.prices.hours_per_month))
  hourly_cost_usd   = local.all_prices_known ? tonumber(format("%.3f", local.fallback_price + local.hourly_extra_usd)) : null
  monthly_cost_usd  = local.all_prices_known ? tonumber(format("%.2f", (local.fallback_price + local.hourly_extra_usd) * local.prices.hours_per_month)) : null
  stopped_month_usd = var.endpoint_mode == "eip" ? tonumber(format("%.2f", local.address_usd * local.prices.hours_per_month)) : 0
}

# What a user may write into run.json, each setting with its kind, limits and default: `make settings` writes the file
# from the declaration that run.json is read by, so that a wrong setting is refused here and not on a paid instance.
locals {
  settings = jsondecode(file("${path.module}/training_settings.json")).settings
}

# What the instance reads: the run, its own limits, and what bash needs before there is a Python environment.
locals {
  # Without a fixed address the instance fills in its own when it has one.
  public_host = var.endpoint_mode == "eip" ? coalesce(var.domain_name, aws_eip.endpoint[0].public_ip) : null

  # Without what is null, and with numbers for what the command line or an environment variable holds as their text.
  training = { for name, value in var.training : name => try(
    tonumber(value),
    { for inner in keys(value) : inner => try(tonumber(value[inner]), value[inner]) if value[inner] != null },
    value,
  ) if value != null }
  run = merge(
    { device = var.accelerator == "gpu" ? "cuda" : "cpu", total_timesteps = local.settings.total_timesteps.default },
    local.training,
    { for name, value in {
      run_id        = var.run_id
      public_host   = local.public_host
      listen_host   = local.ipv6 == true ? local.any_host : null
      wandb_project = try(var.wandb.project, null)
      wandb_entity  = try(var.wandb.entity, null)
    } : name => value if value != null },
    {
      bucket      = { name = local.bucket_name, region = var.region }
      listen_port = local.listen_port
    },
  )

  # What each instance carries as tags: which run it works for, and a name for everything else that it cannot change.
  run_tags = {
    Run = var.run_id
    RunSettings = substr(sha256(jsonencode(concat(
      [local.training, var.accelerator, var.endpoint_mode, var.domain_name, try(var.wandb.project, null), try(var.wandb.entity, null)],
      local.ipv6 == true ? ["ipv6", local.only_ipv6] : [],
      var.route53_zone_id == null ? [] : [var.route53_zone_id],
    ))), 0, 16)
  }

  # What may change at any time: a running instance reads them each minute.
  limits = {
    budget_usd   = var.budget_usd
    max_hours    = var.max_hours
    idle_minutes = var.idle_minutes
  }

  instance = merge(local.limits, {
    name                        = local.name
    region                      = var.region
    group                       = local.group_name
    schedule                    = local.schedule_name
    run_id                      = var.run_id
    endpoint_mode               = var.endpoint_mode
    accelerator                 = var.accelerator
    token_parameter             = local.token_parameter
    dashboard_parameter         = local.dashboard_parameter
    tls_parameter               = local.tls_parameter
    endpoint_parameter          = local.endpoint_parameter
    wandb_parameter             = local.wandb_parameter
    log_group                   = local.log_group_name
    limits_parameter            = local.limits_parameter
    max_launches                = var.max_launches
    volume_gb                   = var.volume_gb
    hourly_extra_usd            = local.hourly_extra_usd
    fallback_price_usd_per_hour = local.fallback_price
    guard_usd_per_hour          = local.guard_usd
    tensorboard_host            = var.tensorboard_port_open ? local.any_host : "127.0.0.1"
    dashboard_host              = var.dashboard_port_open ? local.any_host : "127.0.0.1"
    dashboard_port              = local.dashboard_port
    },
    local.ipv6 == true && local.only_ipv6 ? { published_address = "ipv6" } : {},
    var.route53_zone_id == null ? {} : {
      certificate_parameter = local.certificate_parameter
      route53_zone_id       = var.route53_zone_id
    },
  )

  boot_env = templatefile("${path.module}/templates/boot.env.tftpl", {
    variables = {
      AC_NAME         = local.name
      AC_REGION       = var.region
      AC_BUCKET       = local.bucket_name
      AC_RUN_ID       = var.run_id
      AC_GROUP        = local.group_name
      AC_CODE         = local.code_hash
      AC_ALLOCATION   = one(aws_eip.endpoint[*].allocation_id)
      AC_ACCELERATOR  = var.accelerator
      AC_MAX_LAUNCHES = var.max_launches
    }
  })

  # Their start would hold apt's lock through our boot, and their upgrades replaced the kernel under the GPU's driver.
  masked_units = ["apt-daily.timer", "apt-daily-upgrade.timer", "apt-daily.service", "apt-daily-upgrade.service", "unattended-upgrades.service"]

  user_data = join("\n", ["#cloud-config", yamlencode({
    package_update = false
    bootcmd        = [concat(["systemctl", "mask", "--now"], local.masked_units)]
    write_files = [
      for file in [
        { path = "/usr/local/lib/ac-training/boot.sh", permissions = "0755", content = file("${path.module}/../train_cloud/instance/boot.sh") },
        { path = "/usr/local/lib/ac-training/lifeline.sh", permissions = "0755", content = file("${path.module}/../train_cloud/instance/lifeline.sh") },
        { path = "/etc/ac-training/boot.env", permissions = "0644", content = local.boot_env },
        { path = "/etc/ac-training/run.json", permissions = "0644", content = "${jsonencode(local.run)}\n" },
        { path = "/etc/ac-training/instance.json", permissions = "0644", content = "${jsonencode(local.instance)}\n" },
      ] : merge(file, { owner = "root:root" })
    ]
    runcmd = [["bash", "/usr/local/lib/ac-training/boot.sh"]]
  })])
  user_data_gzip = base64gzip(local.user_data)
  # EC2 counts the bytes before base64: three for each four of its characters.
  user_data_bytes = floor(length(local.user_data_gzip) * 3 / 4)
}
