variable "region" {
  description = "AWS region of everything, such as \"us-east-1\"."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = contains(local.regions, var.region)
    error_message = "region is not the name of an AWS region that this configuration's provider knows. Write it like \"us-east-1\" or \"eu-central-1\" (a region, not a zone such as us-east-1a); they are: ${join(", ", local.regions)}."
  }
}

variable "project_name" {
  description = "Name of this deployment; it begins the names of everything in AWS. Two deployments in one account need two names."
  type        = string
  default     = "ac-training"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{2,31}$", var.project_name)) && !can(regex("^(aws|ssm|sg-|xn--|sthree-|amzn-s3-demo-)", var.project_name))
    error_message = "project_name does not fit the names of buckets, templates, security groups and parameters. Write 3 to 32 lower-case letters, digits and hyphens that begin with a letter, but not with \"aws\", \"ssm\" or \"sg-\", such as \"ac-training\"."
  }
}

# Only a validation ends a destroy, too, and one of `region` itself would depend on itself.
variable "guard_place" {
  description = "Whether to refuse what would lose sight of a deployment that exists: another region or account than its state holds, or a state that does not hold it. false goes on with a state that an older version of this project began."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = !var.guard_place || terraform_data.place.input.region == var.region && terraform_data.place.input.account == local.account_id
    error_message = "This deployment is in ${terraform_data.place.input.region} (account ${terraform_data.place.input.account}), and this would look for it in ${var.region} (account ${local.account_id}): its group, machine, address and bucket would stay there, unseen and billed. Set region (or AWS_PROFILE) back to what it was, `make fetch`, `terraform -chdir=terraform destroy`, and only then change it. A second deployment beside it needs a copy of this folder and another project_name."
  }

  validation {
    condition     = !var.guard_place || length(terraform_data.place.input.strange) == 0
    error_message = "AWS has a deployment ${var.project_name} that this state does not know (${join(", ", terraform_data.place.input.strange)}): its state file was lost, or it was applied from another folder or PC. Set terraform.tfstate back if you have it; if not, `make leftovers PROJECT=${var.project_name}` lists what is still there and what it costs, and ends it on a word. A second deployment beside it needs another project_name."
  }
}

variable "home_cidrs" {
  description = "Networks from which the bridge may dial in: the address of your gaming PC as the internet sees it, with /32 behind it; an IPv6 network (your home's /56 or /64) gives the instance an IPv6 address, too."
  type        = set(string)
  nullable    = false

  validation {
    condition     = length(var.home_cidrs) > 0
    error_message = "home_cidrs is empty, so that no bridge could reach the instance. Write the public address of your gaming PC with /32 behind it, such as [\"203.0.113.7/32\"]."
  }

  validation {
    condition     = alltrue([for cidr in var.home_cidrs : try(cidrsubnet(cidr, 0, 0) == cidr, false)])
    error_message = "home_cidrs holds something that is no network. Write the first address of the network and its length, such as \"203.0.113.7/32\" or \"203.0.113.0/24\"; IPv6 in lower case and its shortest form, such as \"2001:db8:12:3400::/56\"."
  }

  validation {
    condition     = alltrue([for cidr in var.home_cidrs : try(tonumber(split("/", cidr)[1]) >= (strcontains(cidr, ":") ? 32 : 8), true)])
    error_message = "home_cidrs opens the instance to the whole internet or a large part of it. Write your own address with /32 behind it, such as [\"203.0.113.7/32\"]; a network wider than /8 is refused, in IPv6 one wider than /32, which is a whole provider's."
  }

  validation {
    condition = alltrue([for cidr in var.home_cidrs : alltrue([
      for other in local.not_public :
      try(tonumber(split("/", cidr)[1]) < tonumber(split("/", other)[1]) || cidrsubnet("${split("/", cidr)[0]}/${split("/", other)[1]}", 0, 0) != other, true)
    ])])
    error_message = "home_cidrs holds an address that nobody on the internet has: of a home or provider's network (10…, 172.16…, 192.168…, 100.64…), of this machine (127…), or an example from a text (192.0.2…, 198.51.100…, 203.0.113…). Write your gaming PC's address as the internet sees it, which `curl https://checkip.amazonaws.com` shows, with /32 behind it."
  }

  # Addresses of the internet are 2000::/3; 2001:db8::/32 is for texts like this one (RFC 3849).
  validation {
    condition     = alltrue([for cidr in var.home_cidrs : !strcontains(cidr, ":") || can(regex("^[23][0-9a-f]{3}:", cidr)) && !startswith(cidr, "2001:db8:")])
    error_message = "home_cidrs holds an IPv6 network that nobody on the internet has: of a home (fd…, fe80:…), of this machine (::1), or an example from a text (2001:db8:…). Write your gaming PC's as the internet sees it, which `curl -6 https://api6.ipify.org` shows: its first four groups with ::/64 behind them."
  }
}

variable "accelerator" {
  description = "What the trainer computes on: \"gpu\" (NVIDIA) or \"cpu\". It chooses the default instance types and the image."
  type        = string
  default     = "gpu"
  nullable    = false

  validation {
    condition     = contains(["gpu", "cpu"], var.accelerator)
    error_message = "accelerator is neither \"gpu\" nor \"cpu\". Write one of the two."
  }
}

variable "instance_types" {
  description = "Instance types that spot capacity may come from; three or more make interruptions rarer. null takes the accelerator's default list."
  type        = list(string)
  default     = null

  validation {
    condition     = var.instance_types == null || try(length(var.instance_types) >= 1, false)
    error_message = "instance_types is empty. Name at least one type (three or more make interruptions rarer), such as [\"g5.xlarge\", \"g6.xlarge\", \"g4dn.xlarge\"], or leave it out."
  }

  validation {
    condition     = alltrue([for name in coalesce(var.instance_types, []) : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", name))])
    error_message = "instance_types holds something that is no instance type. Write types like \"g5.xlarge\"."
  }

  validation {
    condition     = length(distinct(coalesce(var.instance_types, []))) == length(coalesce(var.instance_types, []))
    error_message = "instance_types names a type twice. Name each once."
  }
}

variable "max_spot_price" {
  description = "Most that an hour of the instance may cost (US dollars an hour); null means up to the on-demand price."
  type        = number
  default     = null

  validation {
    condition     = try(var.max_spot_price > 0 && var.max_spot_price <= 100, var.max_spot_price == null)
    error_message = "max_spot_price is not a price per hour. Write US dollars above 0 and up to 100, such as 0.6, or null for up to the on-demand price."
  }
}

variable "volume_gb" {
  description = "Size of the instance's encrypted gp3 disk (GB); the deep-learning image alone takes about 60."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.volume_gb >= (var.accelerator == "gpu" ? 75 : 20) && var.volume_gb <= 16384 && floor(var.volume_gb) == var.volume_gb
    error_message = "volume_gb does not fit. Write a whole number of GB up to 16384: from 75 on with accelerator = \"gpu\" (the image needs it), from 20 on with \"cpu\"."
  }
}

variable "ami_id" {
  description = "Image that the instance boots from (Ubuntu 24.04, x86_64); null takes the latest one of the accelerator, and a newer one at a later apply."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id is not the id of an image. Write it like \"ami-0123456789abcdef0\", or null for the latest."
  }
}

variable "key_pair_name" {
  description = "EC2 key pair for SSH on port 22 from home_cidrs; null opens no port 22 (Session Manager works without it)."
  type        = string
  default     = null

  validation {
    condition     = var.key_pair_name == null || can(regex("^[ -~]{1,255}$", var.key_pair_name))
    error_message = "key_pair_name is not the name of a key pair. Write the name that the EC2 console shows under Key Pairs, or null for Session Manager only."
  }
}

variable "endpoint_mode" {
  description = "How bridges find the instance: \"eip\" is one fixed address (0.005 US dollars an hour, also while nothing runs), \"ssm\" an address that each instance publishes in a parameter."
  type        = string
  default     = "eip"
  nullable    = false

  validation {
    condition     = contains(["eip", "ssm"], var.endpoint_mode)
    error_message = "endpoint_mode is neither \"eip\" nor \"ssm\". Write \"eip\" for a fixed address or \"ssm\" for a published one."
  }
}

variable "domain_name" {
  description = "DNS name that you point at the fixed address, or, with route53_zone_id, that is pointed there; the pairing string then names it (without route53_zone_id the certificate stays pinned). null uses the address itself."
  type        = string
  default     = null

  validation {
    condition     = var.domain_name == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain_name)) && length(coalesce(var.domain_name, "-")) <= 253
    error_message = "domain_name is not a DNS name. Write it in lower case without a scheme, a port or a final dot, such as \"racing.example.org\"."
  }

  validation {
    condition     = var.domain_name == null || var.endpoint_mode == "eip"
    error_message = "domain_name needs a fixed address to point at. Set endpoint_mode = \"eip\", or leave domain_name out."
  }
}

variable "route53_zone_id" {
  description = "Public Route 53 zone of domain_name: the name is pointed at the address there, and gets a Let's Encrypt certificate (whose terms you thereby accept), which no browser warns of and which needs no pin. null changes no zone."
  type        = string
  default     = null

  validation {
    condition     = var.route53_zone_id == null || can(regex("^Z[A-Z0-9]{1,31}$", var.route53_zone_id))
    error_message = "route53_zone_id is not the id of a zone. Write it as Route 53 lists it, without /hostedzone/, such as \"Z0123456789ABCDEFGHIJ\"."
  }

  validation {
    condition     = var.route53_zone_id == null || var.domain_name != null
    error_message = "route53_zone_id needs the name that is to be in the zone. Set domain_name, or leave route53_zone_id out."
  }
}

variable "run_id" {
  description = "Name of the training run; its checkpoints are kept under runs/<run_id>/ in the bucket. A new name begins a new run."
  type        = string
  default     = "run-1"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", var.run_id))
    error_message = "run_id does not fit. Write up to 63 letters, digits, dots, underscores and hyphens that begin with a letter or digit, such as \"monza-1\"."
  }
}

# Of any type: which settings there are, of which kind and within which limits, says training_settings.json alone.
variable "training" {
  description = "Settings of the run; docs/settings.md lists each with its unit and default. What is left out keeps its default."
  type        = any
  default     = {}
  nullable    = false

  validation {
    condition     = can(keys(var.training))
    error_message = "training is no object of settings. Write them in braces, such as { method = \"sac\", task = { control_hz = 25 } }."
  }

  validation {
    condition     = templatefile("${path.module}/templates/wrong_settings.tftpl", { given = var.training, settings = local.settings }) == ""
    error_message = "${templatefile("${path.module}/templates/wrong_settings.tftpl", { given = var.training, settings = local.settings })}Write what is expected, or leave the setting out for its default; docs/settings.md lists them all."
  }

  # A default may depend on the kind of environment, on the method, or on both.
  validation {
    condition = alltrue([
      for chosen in [{
        kind   = try(coalesce(var.training.environment.kind), local.settings["environment.kind"].default)
        method = try(coalesce(var.training.method), local.settings.method.default)
        }] : alltrue([
        for it in [{ for name in ["updates_per_step", "total_timesteps", "learning_starts"] : name => try(
          coalesce(var.training[name]),
          local.settings[name].defaults["${chosen.kind} ${chosen.method}"],
          local.settings[name].defaults[chosen.method],
          local.settings[name].defaults[chosen.kind],
          local.settings[name].default,
        ) }] :
        try(it.updates_per_step * (it.total_timesteps - it.learning_starts) >= 1, true)
      ])
    ])
    error_message = "training.total_timesteps leaves no step to learn from. Write so many steps more than training.learning_starts that there is at least one update; docs/settings.md says what that is by default."
  }

  validation {
    condition = try(
      var.training[try(coalesce(var.training.environment.kind), local.settings["environment.kind"].default) == "racing" ? "gamma" : "horizon_seconds"],
      null,
    ) == null
    error_message = "training.gamma is of Gymnasium environments alone, and training.horizon_seconds of racing, where it means the same at any rate: about 1 / (task.control_hz * (1 - gamma)). Write the one that fits training.environment.kind."
  }
}

variable "budget_usd" {
  description = "What all lives of the run together may cost before it ends itself, and the limit of the monthly budget that mails (US dollars)."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.budget_usd > 0 && var.budget_usd <= 1000000
    error_message = "budget_usd is not an amount. Write US dollars above 0, such as 20."
  }
}

variable "alert_email" {
  description = "Address that AWS mails when the account's costs of a month reach 80 % of budget_usd; null makes no AWS Budget."
  type        = string
  default     = null

  validation {
    condition     = var.alert_email == null || can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.alert_email))
    error_message = "alert_email is not an e-mail address. Write it like \"you@example.org\", or null for no mail."
  }
}

variable "max_hours" {
  description = "Hours of all lives since the start after which the run ends itself (h); an hour later, or when budget_usd must be spent, the group is emptied from outside too."
  type        = number
  default     = 48
  nullable    = false

  validation {
    condition     = var.max_hours > 0 && var.max_hours <= 8760
    error_message = "max_hours is not a number of hours. Write hours above 0 and up to 8760 (a year), such as 48."
  }
}

variable "idle_minutes" {
  description = "Minutes without new experience after which the instance ends, whether a bridge is connected or not (min)."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.idle_minutes >= 5 && var.idle_minutes <= 100000
    error_message = "idle_minutes does not fit. Write minutes from 5 (less would end the instance before a bridge can dial) to 100000, such as 30."
  }
}

variable "max_launches" {
  description = "Launches of the run after which no further instance works on it, against a run that dies again and again."
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.max_launches >= 1 && var.max_launches <= 10000 && floor(var.max_launches) == var.max_launches
    error_message = "max_launches does not fit. Write a whole number from 1 to 10000, such as 50."
  }
}

variable "wandb" {
  description = "Weights & Biases: the project, and the entity unless it is your default one; raise key_version to send a new wandb_key. null is without W&B."
  # Of any type: an object type would drop a misspelt name without a word.
  type    = any
  default = null

  validation {
    condition     = var.wandb == null || try(length(setsubtract(keys(var.wandb), ["project", "entity", "key_version"])) == 0, false)
    error_message = "wandb has ${try("the unknown setting ${join(", ", setsubtract(keys(var.wandb), ["project", "entity", "key_version"]))}", "no settings")}. Write { project = \"ac-training\" }, and if you need them entity and key_version, or null for no W&B."
  }

  validation {
    condition = var.wandb == null || alltrue([
      for name in [try(var.wandb.project, null), try(coalesce(var.wandb.entity), "none")] : can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", name))
    ])
    error_message = "wandb.project or wandb.entity does not fit. Write names of letters, digits, dots, underscores and hyphens, such as { project = \"ac-training\" }."
  }

  validation {
    condition     = var.wandb == null || alltrue([for it in [try(coalesce(var.wandb.key_version), 1)] : try(it >= 1 && floor(it) == tonumber(it), false)])
    error_message = "wandb.key_version does not fit. Write a whole number from 1, and raise it by one to send a new key."
  }
}

variable "wandb_key" {
  description = "Key of Weights & Biases, best from the environment (TF_VAR_wandb_key); it goes to SSM only, never into the state. Needed when wandb is first set or its key_version is raised."
  type        = string
  default     = null
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = var.wandb_key == null || can(regex("^[A-Za-z0-9_-]{20,200}$", var.wandb_key))
    error_message = "wandb_key is not a key of Weights & Biases. Copy it from https://wandb.ai/authorize, without quotes or spaces."
  }
}

variable "cloudwatch_logs" {
  description = "Whether the instance's journal also goes to a CloudWatch log group (0.50 US dollars a GB); it is kept in the bucket anyway."
  type        = bool
  default     = false
  nullable    = false
}

variable "dashboard_port_open" {
  description = "Whether the dashboard's port 8766 is open to home_cidrs (TLS, a token of its own); false leaves the tunnel of dashboard_tunnel_command."
  type        = bool
  default     = true
  nullable    = false
}

variable "tensorboard_port_open" {
  description = "Whether TensorBoard's port 6006 is open to home_cidrs (plain HTTP, without a password); false leaves the tunnel of tensorboard_command."
  type        = bool
  default     = false
  nullable    = false
}
