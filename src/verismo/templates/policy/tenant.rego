# The caller is a tenant that the configuration knows.
package verismo.gateway

tenant_ok if {
	is_string(input.tenant)
	input.tenant != ""
}

deny contains {"code": "tenant_unknown", "msg": msg} if {
	not tenant_ok
	msg := "The caller belongs to no tenant of this gateway."
}
