# METADATA
# title: Corporate rule
# description: What the corporation wants.
package sourceward.custom.corp

# METADATA
# description: Fires when it must.
deny contains {"message": "no"} if even(2)

even(n) if odd(n - 1)

odd(n) if even(n - 1)
