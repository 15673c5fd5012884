# Data is used only for purposes that its tenant agreed to: the purpose of the call and that of the
# operation both. `may_run` can narrow it: if a call's purpose is listed there, only operations of
# the purposes listed with it may be run for it.
package verismo.gateway

call_purpose_ok if input.purpose in input.tenant_purposes

operation_purpose_ok if {
	input.registered == true
	input.operation_purpose in input.tenant_purposes
}

# Nobody has yet said what an unregistered operation is for; the purpose of the call still counts.
operation_purpose_ok if {
	input.registered == false
	input.operation_purpose in {"", input.purpose}
}

pairing_ok if not data.verismo.purposes.may_run[input.purpose]

pairing_ok if input.operation_purpose in data.verismo.purposes.may_run[input.purpose]

purpose_ok if {
	call_purpose_ok
	operation_purpose_ok
	pairing_ok
}

deny contains {"code": "purpose", "msg": msg} if {
	not call_purpose_ok
	msg := sprintf("Tenant %v does not allow its data to be used for %v.", [fact("tenant"), fact("purpose")])
}

deny contains {"code": "purpose", "msg": msg} if {
	call_purpose_ok
	not operation_purpose_ok
	msg := sprintf("Operation %v is for %v, which tenant %v does not allow.", [
		fact("operation"),
		fact("operation_purpose"),
		fact("tenant"),
	])
}

deny contains {"code": "purpose", "msg": msg} if {
	call_purpose_ok
	operation_purpose_ok
	not pairing_ok
	msg := sprintf("A call made for %v may not run operation %v, which is for %v.", [
		fact("purpose"),
		fact("operation"),
		fact("operation_purpose"),
	])
}
