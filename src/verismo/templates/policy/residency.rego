# Data stays where the tenant's home region lets it go.
#
# A home region may use itself, and what `may_use` lists for it. Wherever a group is named (as a
# home region or in a list), its members count too. A member does not stand for its whole group: a
# tenant at home in `eu-west-1` stays in `eu-west-1`.
package verismo.gateway

permitted_regions contains input.tenant_region

permitted_regions contains region if {
	some region in data.verismo.residency.may_use[input.tenant_region]
}

residency_ok if {
	input.deployment_region != ""
	input.deployment_region in permitted_regions
}

residency_ok if {
	some group in permitted_regions
	input.deployment_region in data.verismo.residency.groups[group]
}

deny contains {"code": "residency", "msg": msg} if {
	not residency_ok
	msg := sprintf("Data of tenant %v (home region %v) may not go to deployment %v in region %v.", [
		fact("tenant"),
		fact("tenant_region"),
		fact("deployment"),
		fact("deployment_region"),
	])
}
