provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

# The same account and region, for the one resource that `terraform test` cannot mock (secrets.tf).
provider "aws" {
  alias  = "tokens"
  region = var.region
}
