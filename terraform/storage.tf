# The run's memory: code, environments, experience, checkpoints. It is what survives an instance.
resource "aws_s3_bucket" "run" {
  #checkov:skip=CKV_AWS_18:An access log needs a second bucket; one role and one user write here, and versions keep what they replace
  #checkov:skip=CKV_AWS_144:A copy in another region would cost more than the training that it protects
  #checkov:skip=CKV_AWS_145:SSE-S3 encrypts all objects; a key of our own costs a dollar a month and protects from nobody else in the account
  #checkov:skip=CKV2_AWS_62:Nobody waits for events of this bucket
  bucket = local.bucket_name

  # `terraform destroy` leaves nothing behind, checkpoints included: docs/cloud.md says to fetch the model first.
  force_destroy = true

  depends_on = [terraform_data.place]
}

resource "aws_s3_bucket_versioning" "run" {
  bucket = aws_s3_bucket.run.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "run" {
  bucket = aws_s3_bucket.run.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "run" {
  bucket = aws_s3_bucket.run.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "run" {
  bucket = aws_s3_bucket.run.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# Only what nobody can miss goes by itself: replaced versions and broken uploads. Experience and checkpoints stay.
resource "aws_s3_bucket_lifecycle_configuration" "run" {
  bucket = aws_s3_bucket.run.id

  rule {
    id     = "replaced-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 14
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "broken-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  depends_on = [aws_s3_bucket_versioning.run]
}

data "aws_iam_policy_document" "tls_only" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.run.arn, "${aws_s3_bucket.run.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "run" {
  bucket = aws_s3_bucket.run.id
  policy = data.aws_iam_policy_document.tls_only.json

  depends_on = [aws_s3_bucket_public_access_block.run]
}

# The code, one object for each file, under a name that changes with any of them: a boot gets all of one version.
locals {
  code_root = "${path.module}/.."
  code_files = toset(concat(
    ["pyproject.toml", "constraints.txt"],
    flatten([
      for folder in ["runtime", "racing", "wire", "experience", "train_cloud"] : [
        for file in fileset("${local.code_root}/${folder}", "**") : "${folder}/${file}"
        # Not the interpreter's caches, nor what an editor or a test left behind.
        if can(regex("\\.(py|sh|service|timer|path|conf|html|css|js|svg)$|/LICENSE$", file))
      ]
    ]),
  ))
  code_sums = { for file in local.code_files : file => filesha256("${local.code_root}/${file}") }
  manifest  = join("", [for file, sum in local.code_sums : "${sum}  ${file}\n"])
  code_hash = substr(sha256(local.manifest), 0, 16)
}

resource "aws_s3_object" "code" {
  #checkov:skip=CKV_AWS_186:SSE-S3 encrypts it; the code is public anyway
  for_each = local.code_sums

  bucket      = aws_s3_bucket.run.id
  key         = "code/${local.code_hash}/${each.key}"
  source      = "${local.code_root}/${each.key}"
  source_hash = each.value

  # The former code goes only when the template names the new one.
  lifecycle {
    create_before_destroy = true
  }

  depends_on = [aws_s3_bucket_versioning.run, aws_s3_bucket_server_side_encryption_configuration.run]
}

resource "aws_s3_object" "manifest" {
  #checkov:skip=CKV_AWS_186:SSE-S3 encrypts it; it holds checksums
  bucket      = aws_s3_bucket.run.id
  key         = "code/${local.code_hash}/MANIFEST"
  content     = local.manifest
  source_hash = sha256(local.manifest)

  lifecycle {
    create_before_destroy = true
  }

  # Who finds a manifest finds all that it lists.
  depends_on = [aws_s3_object.code]
}
