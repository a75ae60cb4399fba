# What is kept, for how long, and who may read it.
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

run "keeps_the_run_safely_and_uploads_each_file_of_the_code" {
  command = plan

  assert {
    condition     = aws_s3_bucket.run.bucket == "ac-training-mocked-us-east-1" && aws_s3_bucket.run.force_destroy
    error_message = "The bucket's name is not unique to the account, or it would survive destroy."
  }

  assert {
    condition     = aws_s3_bucket_versioning.run.versioning_configuration[0].status == "Enabled"
    error_message = "An overwritten checkpoint would be lost."
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.run.block_public_acls, aws_s3_bucket_public_access_block.run.block_public_policy,
      aws_s3_bucket_public_access_block.run.ignore_public_acls, aws_s3_bucket_public_access_block.run.restrict_public_buckets,
    ])
    error_message = "The bucket could become public."
  }

  assert {
    condition     = alltrue([for path, object in aws_s3_object.code : object.key == "code/${local.code_hash}/${path}" && object.source_hash == local.code_sums[path]])
    error_message = "A file's place or hash is wrong."
  }

  assert {
    condition     = alltrue([for path in ["pyproject.toml", "constraints.txt", "runtime/__init__.py", "wire/__init__.py", "racing/__init__.py", "experience/__init__.py", "train_cloud/run_config.py"] : contains(keys(aws_s3_object.code), path)])
    error_message = "A part of the code is left behind."
  }

  assert {
    condition     = length(regexall("__pycache__|\\.pyc|\\.db", join(" ", keys(aws_s3_object.code)))) == 0
    error_message = "Something that is no code is uploaded."
  }
}
