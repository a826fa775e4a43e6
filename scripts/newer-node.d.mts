export const NEWER_NODE: string
export function isNewerNode(): boolean
export function newerNode(): string | undefined
