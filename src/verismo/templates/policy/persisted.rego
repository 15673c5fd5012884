# Only registered operations run, as strictly as the tenant's enforcement says.
package verismo.gateway

persisted_ok if input.enforcement == "observe"

persisted_ok if {
	input.enforcement == "safelist"
	input.registered == true
}

persisted_ok if {
	input.enforcement == "id-only"
	input.registered == true
	input.by_id == true
}

deny contains {"code": "persisted_only", "msg": msg} if {
	not persisted_ok
	not input.registered == true
	msg := sprintf("Operation %v is not registered for tenant %v.", [fact("operation"), fact("tenant")])
}

deny contains {"code": "persisted_only", "msg": msg} if {
	not persisted_ok
	input.registered == true
	msg := sprintf("Tenant %v must call operation %v by its id, not by an alias or its text.", [fact("tenant"), fact("operation")])
}

# The gateway keeps a note of what ran unregistered; `verismo operation learn` works from it.
obligations contains "record_operation" if {
	input.enforcement == "observe"
	not input.registered == true
}
