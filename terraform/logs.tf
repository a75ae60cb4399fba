resource "aws_cloudwatch_log_group" "instance" {
  #checkov:skip=CKV_AWS_158:CloudWatch encrypts it with its own key; the journal holds no secrets
  #checkov:skip=CKV_AWS_338:The bucket keeps the journal as long as the run; here it is for looking on
  count = var.cloudwatch_logs ? 1 : 0

  name              = local.log_group_name
  retention_in_days = 30
}
