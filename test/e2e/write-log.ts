/** SQL that starts a log of committed writes into login_record, also of those that `on conflict do nothing` drops. */
export const startWriteLog = `
  create table public.written (member_id uuid);
  create function public.note_write() returns trigger language plpgsql security definer as
    $$ begin insert into public.written values (new.member_id); return new; end $$;
  create trigger noted before insert on login_record for each row execute function public.note_write()`;

export const stopWriteLog = 'drop function public.note_write cascade; drop table public.written';
