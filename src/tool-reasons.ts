/**
 * Words of the reasons why a rule that allows does not let a call through: nobody accepted the tool as it is, or it may
 * pass for another. The gateway knows by them that one more such rule would change nothing.
 */
export const acceptCommand = "aegis tools accept";
export const onlyExactly = "no wildcard and no default allows it, only a rule with exactly";

export function isAboutTool(reason: string): boolean {
  return reason.includes(acceptCommand) || reason.includes(onlyExactly);
}
